package compile

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// random draws resources and requests from small alphabets, so that they meet.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 2))} }

func pick[T any](r random, list ...T) T { return list[r.IntN(len(list))] }

func (r random) one(in int) bool { return r.IntN(in) == 0 }

var (
	listenerNames = []string{"l0", "l1", "l2"}
	upstreamNames = []string{"u0", "u1", "u2", "u3", "u4"}
)

func (r random) listener(name string) *fleetv1.Resource {
	l := &fleetv1.Listener{Port: proto.Uint32(uint32(8000 + int(name[1]-'0'))), Protocol: fleetv1.Listener_HTTP.Enum()}
	if r.one(3) {
		l.Backlog = proto.Uint32(uint32(1 + r.IntN(9)))
	}
	if r.one(30) {
		l.Port = proto.Uint32(8000)
	}
	return &fleetv1.Resource{Kind: proto.String("Listener"), Name: &name, Spec: &fleetv1.Resource_Listener{Listener: l}}
}

func (r random) upstream(name string) *fleetv1.Resource {
	u := &fleetv1.Upstream{}
	for i := range 1 + r.IntN(3) {
		u.Endpoints = append(u.Endpoints, &fleetv1.Endpoint{
			Address: proto.String(fmt.Sprintf("10.0.%d.%d:80", name[1]-'0', i)), Weight: proto.Uint32(uint32(r.IntN(4))),
		})
	}
	res := &fleetv1.Resource{Kind: proto.String("Upstream"), Name: &name, Spec: &fleetv1.Resource_Upstream{Upstream: u}}
	if r.one(3) {
		res.Labels = map[string]string{"n": fmt.Sprint(r.IntN(9))}
	}
	return res
}

func (r random) path() string {
	var b strings.Builder
	for range r.IntN(4) {
		b.WriteString("/" + pick(r, "a", "b", "c", "longer-than-eight"))
	}
	if b.Len() == 0 || r.one(4) {
		b.WriteString("/")
	}
	return b.String()
}

func (r random) route(name string) *fleetv1.Resource {
	d := &fleetv1.Route{}
	for range r.IntN(3) {
		d.Hosts = append(d.Hosts, pick(r, "a.test", "b.a.test", "*.a.test", "*.test", "other.test"))
	}
	if r.one(3) {
		for range 1 + r.IntN(2) {
			d.Listeners = append(d.Listeners, pick(r, listenerNames...))
		}
	}
	if r.one(3) {
		d.Priority = proto.Int32(int32(r.IntN(4) - 1))
	}
	d.Match = r.match()
	switch r.IntN(4) {
	case 0:
		d.Respond = &fleetv1.Respond{Status: proto.Uint32(200), Body: proto.String("x")}
	case 1:
		d.Redirect = &fleetv1.Redirect{Path: proto.String("/y")}
	default:
		for range 1 + r.IntN(3) {
			d.Forward = append(d.Forward, &fleetv1.Forward{Upstream: proto.String(pick(r, upstreamNames...)), Weight: proto.Uint32(uint32(r.IntN(30)))})
		}
	}
	if r.one(4) {
		d.RequestHeaders = &fleetv1.HeaderChanges{Set: map[string]string{"X-Set": "1"}, Remove: []string{"Cookie"}}
	}
	return &fleetv1.Resource{Kind: proto.String("Route"), Name: &name, Spec: &fleetv1.Resource_Route{Route: d}}
}

func (r random) match() *fleetv1.Match {
	m := &fleetv1.Match{}
	switch r.IntN(7) {
	case 0, 1:
		m.Path = &fleetv1.PathMatch{Exact: proto.String(r.path())}
	case 2, 3, 4:
		m.Path = &fleetv1.PathMatch{Prefix: proto.String(r.path())}
	case 5:
		m.Path = &fleetv1.PathMatch{Regex: proto.String(pick(r, "/.*", "/a.*", "/[ab]/c?", "/b"))}
	}
	if r.one(3) {
		for range 1 + r.IntN(2) {
			m.Methods = append(m.Methods, pick(r, "GET", "POST", "PURGE"))
		}
	}
	if r.one(3) {
		h := &fleetv1.HeaderMatch{Name: proto.String(pick(r, "X-Group", "x-group", "Cookie"))}
		switch r.IntN(4) {
		case 0:
			h.Exact = proto.String("one")
		case 1:
			h.Prefix = proto.String("on")
		case 2:
			h.Regex = proto.String("o.e|two")
		}
		h.Invert = proto.Bool(r.one(3))
		m.Headers = append(m.Headers, h)
	}
	if r.one(4) {
		q := &fleetv1.QueryMatch{Name: proto.String("k")}
		if r.one(2) {
			q.Exact = proto.String("v w")
		}
		m.Query = append(m.Query, q)
	}
	if r.one(6) {
		m.ClientCidrs = []string{pick(r, "10.0.0.0/8", "192.0.2.1")}
	}
	return m
}

func (r random) ask() ask {
	a := ask{
		method: pick(r, "GET", "POST", "PURGE", "HEAD"),
		host:   pick(r, "a.test", "b.a.test", "c.b.a.test", "x.test", "other.test", "none", ""),
		path:   r.path(),
		query:  pick(r, "", "k", "k=v+w", "k=1&k=v%20w"),
		client: pick(r, "10.1.1.1", "192.0.2.1", "2001:db8::1"),
	}
	for range r.IntN(3) {
		a.fields = append(a.fields, [2]string{pick(r, "x-group", "X-GROUP", "cookie"), pick(r, "one", "two", "three")})
	}
	return a
}

// fleet is a set of resources that changes.
type fleet map[tree.Key]*fleetv1.Resource

// edit makes some changes at random, also such that refer to nothing or collide.
func (f fleet) edit(r random, routes int) {
	for range 1 + r.IntN(8) {
		var res *fleetv1.Resource
		switch r.IntN(8) {
		case 0:
			res = r.listener(pick(r, listenerNames...))
		case 1, 2:
			res = r.upstream(pick(r, upstreamNames...))
		default:
			res = r.route(fmt.Sprintf("r%02d", r.IntN(routes)))
		}
		key := tree.Key{Kind: res.GetKind(), Name: res.GetName()}
		if r.one(5) {
			delete(f, key)
		} else {
			f[key] = res
		}
	}
}

// oracle finds the route of a request by the words of DESIGN section 2, from the
// definitions: all of them, sorted, tried one after the other.
func (f fleet) oracle(listener string, a ask) string {
	type candidate struct {
		class string
		res   *fleetv1.Resource
	}
	var all []candidate
	for _, res := range f {
		d := res.GetRoute()
		if d == nil || len(d.Listeners) > 0 && !slices.Contains(d.Listeners, listener) || !oracleFits(d.Match, a) {
			continue
		}
		if len(d.Hosts) == 0 {
			all = append(all, candidate{"", res})
		}
		for _, h := range d.Hosts {
			if h == a.host || strings.HasPrefix(h, "*.") && strings.HasSuffix(a.host, h[1:]) && len(a.host) > len(h)-1 {
				all = append(all, candidate{h, res})
			}
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return slices.MinFunc(all, func(x, y candidate) int {
		return cmp.Or(
			cmp.Compare(oracleHost(x.class), oracleHost(y.class)),
			oracleRank(x.res, y.res),
			strings.Compare(x.res.GetName(), y.res.GetName()),
		)
	}).res.GetName()
}

// oracleHost: exact is 0, wildcards by length, none last.
func oracleHost(class string) int {
	switch {
	case class == "":
		return 10_000
	case strings.HasPrefix(class, "*."):
		return 1000 - len(class)
	}
	return 0
}

func oracleRank(x, y *fleetv1.Resource) int {
	a, b := x.GetRoute(), y.GetRoute()
	path := func(d *fleetv1.Route) (class, length int) {
		p := d.GetMatch().GetPath()
		switch {
		case p == nil:
			return 3, 0
		case p.Exact != nil:
			return 0, 0
		case p.Prefix != nil:
			return 1, len(*p.Prefix)
		}
		return 2, len(*p.Regex)
	}
	ac, al := path(a)
	bc, bl := path(b)
	methods := func(d *fleetv1.Route) int { return min(1, len(d.GetMatch().GetMethods())) }
	return cmp.Or(
		cmp.Compare(b.GetPriority(), a.GetPriority()), cmp.Compare(ac, bc), cmp.Compare(bl, al), cmp.Compare(methods(b), methods(a)),
		cmp.Compare(len(b.GetMatch().GetHeaders()), len(a.GetMatch().GetHeaders())),
		cmp.Compare(len(b.GetMatch().GetQuery()), len(a.GetMatch().GetQuery())),
	)
}

func oracleFits(m *fleetv1.Match, a ask) bool {
	switch p := m.GetPath(); {
	case p == nil:
	case p.Exact != nil && a.path != *p.Exact,
		p.Regex != nil && regexp.MustCompile("^("+*p.Regex+")$").FindString(a.path) == "":
		return false
	case p.Prefix != nil:
		below := strings.TrimSuffix(*p.Prefix, "/") + "/"
		if !strings.HasPrefix(a.path, below) && a.path != *p.Prefix {
			return false
		}
	}
	if len(m.GetMethods()) > 0 && !slices.Contains(m.GetMethods(), a.method) {
		return false
	}
	for _, h := range m.GetHeaders() {
		fits := slices.ContainsFunc(a.fields, func(f [2]string) bool {
			switch {
			case !strings.EqualFold(f[0], h.GetName()):
				return false
			case h.Exact != nil:
				return f[1] == *h.Exact
			case h.Prefix != nil:
				return strings.HasPrefix(f[1], *h.Prefix)
			case h.Regex != nil:
				return regexp.MustCompile("^(" + *h.Regex + ")$").MatchString(f[1])
			}
			return true
		})
		if fits == h.GetInvert() {
			return false
		}
	}
	for _, q := range m.GetQuery() {
		if a.query == "" || q.Exact != nil && a.query == "k" { // see ask
			return false
		}
	}
	client := netip.MustParseAddr(a.client)
	return len(m.GetClientCidrs()) == 0 || slices.ContainsFunc(m.GetClientCidrs(), func(s string) bool {
		p, err := netip.ParsePrefix(s)
		return err == nil && p.Contains(client) || s == a.client
	})
}

// plain is a table without its pointers, to compare two of them.
func plain(t *table.Table) string {
	var b strings.Builder
	fmt.Fprintln(&b, t.Version, t.Root, t.Routes)
	for _, l := range t.Listeners {
		l.Routes = table.Index{}
		fmt.Fprintf(&b, "%+v\n", l)
	}
	for _, u := range t.Upstreams {
		fmt.Fprintf(&b, "%+v\n", *u)
	}
	return b.String()
}
