package table

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// oracle is what the index must agree with: every route under every host class,
// sorted by the words of DESIGN section 2, tried one after the other, with other
// means than the matcher's.
type oracle []oracleEntry

type oracleEntry struct {
	class string
	route *Route
}

func newOracle(routes []*Route) oracle {
	var o oracle
	for _, r := range routes {
		if len(r.Hosts) == 0 {
			o = append(o, oracleEntry{"", r})
		}
		for _, h := range r.Hosts {
			o = append(o, oracleEntry{h, r})
		}
	}
	slices.SortFunc(o, func(a, b oracleEntry) int {
		return slices.Compare(append(hostRank(a.class), routeRank(a.route)...), append(hostRank(b.class), routeRank(b.route)...))
	})
	return o
}

func hostRank(class string) []string {
	switch {
	case class == "":
		return []string{"2", ""}
	case strings.HasPrefix(class, "*."):
		return []string{"1", descending(len(class))}
	}
	return []string{"0", ""}
}

// routeRank is the tuple of precedence, each part so that smaller goes first.
func routeRank(r *Route) []string {
	path := ""
	switch r.Path.Kind {
	case PathExact:
		path = "0"
	case PathPrefix:
		path = "1" + descending(len(r.Path.Text))
	case PathRegex:
		path = "2" + descending(len(r.Path.Text))
	case PathAny:
		path = "3"
	}
	methods, headers, query := "1", 0, 0
	if c := r.Conditions; c != nil {
		if c.Methods != 0 || len(c.Others) > 0 {
			methods = "0"
		}
		headers, query = len(c.Headers), len(c.Query)
	}
	return []string{descending(int(r.Priority)), path, methods, descending(headers), descending(query), r.Name}
}

func descending(n int) string { return fmt.Sprintf("%09d", 100_000_000-n) }

func (o oracle) match(q *Query) *Route {
	for _, e := range o {
		if oracleHost(e.class, string(q.Host)) && oracleRoute(e.route, q) {
			return e.route
		}
	}
	return nil
}

func oracleHost(class, host string) bool {
	suffix, wild := strings.CutPrefix(class, "*")
	switch {
	case class == "":
		return true
	case wild:
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return class == host
}

func oracleRoute(r *Route, q *Query) bool {
	path := string(q.Path)
	switch r.Path.Kind {
	case PathExact:
		if path != r.Path.Text {
			return false
		}
	case PathPrefix:
		trimmed := strings.TrimSuffix(r.Path.Text, "/")
		below := strings.HasPrefix(path, trimmed+"/")
		self := path == trimmed && !strings.HasSuffix(r.Path.Text, "/")
		if r.Path.Text != "/" && !below && !self {
			return false
		}
	case PathRegex:
		if regexp.MustCompile("^(?:"+r.Path.Text+")$").FindString(path) != path || !r.Path.Regex.MatchString(path) {
			return false
		}
	}
	c := r.Conditions
	if c == nil {
		return true
	}
	if c.Methods != 0 || len(c.Others) > 0 {
		names := slices.Clone(c.Others)
		for m := message.MethodGet; m < 64; m++ {
			if c.Methods&(1<<m) != 0 {
				names = append(names, m.String())
			}
		}
		if !slices.Contains(names, string(q.MethodName)) {
			return false
		}
	}
	for i := range c.Headers {
		var values []string
		for _, f := range q.Head.Fields {
			if strings.EqualFold(string(q.Head.Bytes(f.Name)), c.Headers[i].Name) {
				values = append(values, string(q.Head.Bytes(f.Value)))
			}
		}
		if !oracleValues(&c.Headers[i], values) {
			return false
		}
	}
	for i := range c.Query {
		var values []string
		for pair := range strings.SplitSeq(string(q.RawQuery), "&") {
			name, value, _ := strings.Cut(pair, "=")
			if pair != "" && oracleDecode(name) == c.Query[i].Name {
				values = append(values, oracleDecode(value))
			}
		}
		if !oracleValues(&c.Query[i], values) {
			return false
		}
	}
	return len(c.Clients) == 0 || slices.ContainsFunc(c.Clients, func(p netip.Prefix) bool { return p.Contains(q.Client) })
}

// oracleDecode decodes what url can, and leaves the rest alone by first
// protecting each "%" that begins no escape.
func oracleDecode(s string) string {
	s = regexp.MustCompile(`%(?:[0-9a-fA-F]{2})?`).ReplaceAllStringFunc(s, func(m string) string {
		if m == "%" {
			return "%25"
		}
		return m
	})
	out, err := url.QueryUnescape(s)
	if err != nil {
		panic(err)
	}
	return out
}

func oracleValues(m *ValueMatch, values []string) bool {
	fits := slices.ContainsFunc(values, func(v string) bool {
		switch m.Kind {
		case TextExact:
			return v == m.Text
		case TextPrefix:
			return strings.HasPrefix(v, m.Text)
		case TextRegex:
			return m.Regex.MatchString(v)
		}
		return true
	})
	return fits != m.Invert
}

// random draws routes and queries from small alphabets, so that they meet.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 1))} }

func pick[T any](r random, list ...T) T { return list[r.IntN(len(list))] }

func (r random) hosts() []string {
	all := []string{"a.test", "b.a.test", "c.b.a.test", "*.a.test", "*.test", "*.b.a.test", "*.a.b.a.test", "other.test"}
	var out []string
	for range r.IntN(4) {
		out = append(out, pick(r, all...))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (r random) path() string {
	var b strings.Builder
	for range r.IntN(5) {
		b.WriteString("/" + pick(r, "a", "b", "c", "", "ab"))
	}
	if b.Len() == 0 || r.IntN(4) == 0 {
		b.WriteString("/")
	}
	return b.String()
}

func (r random) value(name string, id message.FieldID) ValueMatch {
	m := ValueMatch{Name: name, ID: id, Kind: TextKind(r.IntN(4)), Invert: r.IntN(4) == 0}
	switch m.Kind {
	case TextExact, TextPrefix:
		m.Text = pick(r, "", "1", "1 2", "a%", "x/y")
	case TextRegex:
		m.Text = pick(r, "1.*", "", "[a-z]+", ".* .*")
		m.Regex = regexp.MustCompile(`\A(?:` + m.Text + `)\z`)
	}
	return m
}

func (r random) conditions() *Conditions {
	if r.IntN(2) == 0 {
		return nil
	}
	c := &Conditions{}
	if r.IntN(3) == 0 {
		c.Methods = uint64(r.IntN(8)) << 1
	}
	if r.IntN(6) == 0 {
		c.Others = []string{"PURGE"}
	}
	for range r.IntN(3) {
		if r.IntN(2) == 0 {
			c.Headers = append(c.Headers, r.value("x-group", 0))
		} else {
			c.Headers = append(c.Headers, r.value("cookie", message.FieldCookie))
		}
	}
	for range r.IntN(3) {
		c.Query = append(c.Query, r.value(pick(r, "k", "a b"), 0))
	}
	if r.IntN(4) == 0 {
		c.Clients = []netip.Prefix{pick(r, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32"))}
	}
	if c.Methods == 0 && c.Others == nil && c.Headers == nil && c.Query == nil && c.Clients == nil {
		return nil
	}
	return c
}

func (r random) route(name string) *Route {
	route := &Route{Name: name, Hosts: r.hosts(), Conditions: r.conditions()}
	if r.IntN(3) == 0 {
		route.Priority = int32(r.IntN(5) - 2)
	}
	switch route.Path.Kind = PathKind(r.IntN(4)); route.Path.Kind {
	case PathExact, PathPrefix:
		route.Path.Text = r.path()
	case PathRegex:
		route.Path.Text = pick(r, "/.*", "/a.*", "/(a|b)/c?", "/b", ".*")
		route.Path.Regex = regexp.MustCompile(`\A(?:` + route.Path.Text + `)\z`)
	}
	return route
}

func (r random) query() *Query {
	q := &Query{
		Host:   []byte(pick(r, "a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "x.test", "other.test", "test", "", "x.a.b.a.test", "[::1]")),
		Path:   []byte(r.path()),
		Client: pick(r, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")),
		Head:   &message.Head{},
	}
	if r.IntN(20) == 0 {
		q.Path = nil
	}
	q.MethodName = []byte(pick(r, "GET", "POST", "HEAD", "PURGE", "get"))
	q.Method = message.LookupMethod(q.MethodName)
	for range r.IntN(4) {
		pair := pick(r, "k", "a+b", "a%20b", "%6B", "", "z") + pick(r, "", "=", "=1", "=1+2", "=1%202", "=a%", "=a%25", "=x%2Fy", "=%zz")
		q.RawQuery = append(append(q.RawQuery, pair...), pick(r, "", "&", "&&")...)
		q.HasQuery = true
	}
	for range r.IntN(4) {
		addField(q.Head, pick(r, "X-Group", "x-group", "Cookie", "Other"), pick(r, "", "1", "1 2", "abc", "x/y"))
	}
	return q
}

func addField(h *message.Head, name, value string) {
	add := func(s string) message.Span {
		start := len(h.Arena)
		h.Arena = append(h.Arena, s...)
		return message.Span{Start: uint32(start), End: uint32(len(h.Arena))}
	}
	h.Fields = append(h.Fields, message.Field{Name: add(name), Value: add(value), ID: message.LookupField([]byte(name))})
}
