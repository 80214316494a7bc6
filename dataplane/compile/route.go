package compile

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// routeBlock is what nearly every route needs, in one piece of memory: a table
// has 100,000 of them, and the garbage collector visits each.
type routeBlock struct {
	route  table.Route
	target [1]table.Target
	host   [1]string
}

// routeDefaults are the defaults of a route. They are asked for once, of the
// package that knows them: WithDefaults copies a resource, and that is a tenth of
// a full compile.
type routeDefaults struct {
	timeout                    time.Duration
	weight, status             uint32
	keepQuery, keepQueryOfPath bool
	tunnel                     *table.Tunnel // shared by the routes that say nothing else
	retry                      *table.Retry  // likewise
}

func newRouteDefaults() routeDefaults {
	of := func(r *fleetv1.Route) *fleetv1.Route {
		return resource.WithDefaults(&fleetv1.Resource{Spec: &fleetv1.Resource_Route{Route: r}}).GetRoute()
	}
	forward := of(&fleetv1.Route{Forward: []*fleetv1.Forward{{}}})
	redirect := of(&fleetv1.Route{Redirect: &fleetv1.Redirect{}}).GetRedirect()
	path := of(&fleetv1.Route{Redirect: &fleetv1.Redirect{Path: new(string)}}).GetRedirect()
	return routeDefaults{
		tunnel:          tunnel(forward),
		retry:           retry(forward),
		timeout:         time.Duration(forward.GetTimeouts().GetRequest()),
		weight:          forward.GetForward()[0].GetWeight(),
		status:          redirect.GetStatus(),
		keepQuery:       redirect.GetKeepQuery(),
		keepQueryOfPath: path.GetKeepQuery(),
	}
}

// or is the value of a field that may be unset.
func or[T any](field *T, unset T) T {
	if field == nil {
		return unset
	}
	return *field
}

// routeMaker converts one definition and notes its problems.
type routeMaker struct {
	*compiler
	key  tree.Key
	spec *fleetv1.Route
	out  *table.Route
}

// route converts one definition, without defaults. Problems are told; nil if they
// concern what the route matches. A route whose action has problems is given, so
// that it is held against others: no table will come of it.
func (c *compiler) route(key tree.Key, spec *fleetv1.Route) *table.Route {
	told := len(c.problems)
	block := &routeBlock{}
	m := routeMaker{compiler: c, key: key, spec: spec, out: &block.route}
	r := m.out
	r.Priority = spec.GetPriority()
	m.texts(block)
	r.Conditions = m.conditions(spec.GetMatch())
	if len(c.problems) > told {
		return nil
	}
	r.Timeout = c.defaults.timeout
	if t := spec.GetTimeouts(); t != nil && t.Request != nil {
		r.Timeout = time.Duration(*t.Request)
	}
	r.ForwardRawPath = spec.GetForwardRawPath()
	r.Listeners = m.listeners()
	m.action(block)
	m.rewrite()
	r.RequestHeaders = m.headerOps(spec.GetRequestHeaders())
	r.ResponseHeaders = m.headerOps(spec.GetResponseHeaders())
	return r
}

func (m *routeMaker) problem(field, got, expected string) { m.tell(m.key, field, got, expected) }

// texts brings hosts and path into normal form. With the name they are one string:
// one piece of memory, which a request for the route reads together.
func (m *routeMaker) texts(block *routeBlock) {
	var text strings.Builder
	type part struct{ start, end int }
	var few [4]part
	hosts, parts := block.host[:0], few[:0]
	kind, path := m.path()
	size := len(path) + len(m.key.Name)
	for _, h := range m.spec.GetHosts() {
		size += len(h)
	}
	text.Grow(size)
	for i, h := range m.spec.GetHosts() {
		start := text.Len()
		pattern, wild := strings.CutPrefix(h, "*.")
		m.raw = append(m.raw[:0], pattern...)
		normal, buf, ok := message.NormalHost(m.raw, m.buf)
		m.buf = buf
		if !ok {
			m.problem(fmt.Sprintf("spec.hosts[%d]", i), quote(h), "a host name, or *. and a host name")
			continue
		}
		if wild {
			text.WriteString("*.")
		}
		text.Write(normal)
		parts = append(parts, part{start, text.Len()})
	}
	start := text.Len()
	text.WriteString(path)
	end := text.Len()
	text.WriteString(m.key.Name)
	all := text.String()
	m.out.Name = all[end:]
	for i, p := range parts {
		host := all[p.start:p.end]
		if n := table.WildcardLabels(host); n > table.MaxWildcardLabels {
			m.problem(fmt.Sprintf("spec.hosts[%d]", i), quote(host), fmt.Sprintf("at most %d labels after the *", table.MaxWildcardLabels))
		}
		hosts = append(hosts, host)
	}
	if len(hosts) > 0 {
		slices.Sort(hosts)
		m.out.Hosts = slices.Compact(hosts)
	}
	m.out.Path.Kind, m.out.Path.Text = kind, all[start:end]
	if kind == table.PathRegex {
		m.out.Path.Regex = m.whole(path, func() string { return "spec.match.path.regex" })
	}
}

// path is the kind and the normal form of the route's path.
func (m *routeMaker) path() (table.PathKind, string) {
	p := m.spec.GetMatch().GetPath()
	switch {
	case p == nil:
		return table.PathAny, ""
	case p.Exact != nil:
		return table.PathExact, m.normalPath("spec.match.path.exact", p.GetExact())
	case p.Prefix != nil:
		prefix := m.normalPath("spec.match.path.prefix", p.GetPrefix())
		if n := table.PrefixSegments(prefix); n > table.MaxPrefixSegments {
			m.problem("spec.match.path.prefix", fmt.Sprintf("%d segments", n), fmt.Sprintf("at most %d", table.MaxPrefixSegments))
		}
		return table.PathPrefix, prefix
	default:
		return table.PathRegex, p.GetRegex()
	}
}

// normalPath brings a path into the form in which requests are matched.
func (m *routeMaker) normalPath(field, path string) string {
	m.raw = append(m.raw[:0], path...)
	normal, buf, problem := message.NormalPath(m.raw, m.buf, message.PathOptions{})
	m.buf = buf
	if problem != message.PathOK || len(path) == 0 {
		m.problem(field, quote(path), "a path in normal form that begins with /, without a query")
		return "/"
	}
	if string(normal) == path {
		return path
	}
	return string(normal)
}

// compiledRegex is a pattern, or what is wrong with it.
type compiledRegex struct {
	regex *regexp.Regexp
	wrong string
}

// maxProgram bounds the instructions of a pattern: a byte may cost time for each
// of them, on a loop, and repetitions make many of a short text.
const maxProgram = 1000

func compileRegex(source string) *compiledRegex {
	parsed, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return &compiledRegex{wrong: "a regular expression in RE2 syntax (" + err.Error() + ")"}
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return &compiledRegex{wrong: "a regular expression in RE2 syntax (" + err.Error() + ")"}
	}
	if n := len(program.Inst); n > maxProgram {
		return &compiledRegex{wrong: fmt.Sprintf("a simpler pattern: this one has %d instructions, at most %d are allowed", n, maxProgram)}
	}
	regex, err := regexp.Compile(source)
	if err != nil {
		return &compiledRegex{wrong: "a regular expression in RE2 syntax (" + err.Error() + ")"}
	}
	return &compiledRegex{regex: regex}
}

// whole compiles a pattern that must match a whole text.
func (m *routeMaker) whole(pattern string, field func() string) *regexp.Regexp {
	return m.regex(pattern, `\A(?:`+pattern+`)\z`, field)
}

// regex compiles source, once for all routes of this Compile that have it.
func (m *routeMaker) regex(pattern, source string, field func() string) *regexp.Regexp {
	known, ok := m.regexes[source]
	if !ok {
		m.spend(costRegex)
		known = compileRegex(source)
		if m.regexes == nil {
			m.regexes = map[string]*compiledRegex{}
		}
		m.regexes[source] = known
	}
	if known.wrong != "" {
		m.problem(field(), quote(pattern), known.wrong)
	}
	return known.regex
}

// listeners checks that each is there. Whether the route suits what is spoken there
// is looked at when it is indexed.
func (m *routeMaker) listeners() []string {
	names := m.spec.GetListeners()
	if len(names) == 0 {
		return nil
	}
	for i, name := range names {
		field := func() string { return fmt.Sprintf("spec.listeners[%d]", i) }
		if m.built.Table.Listener(name) == nil && !m.exists(resource.Listener, name) {
			m.missing(m.key, field(), tree.Key{Kind: resource.Listener, Name: name})
		}
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

func (m *routeMaker) action(block *routeBlock) {
	switch {
	case m.spec.GetRedirect() != nil:
		m.out.Action, m.out.Redirect = table.ActionRedirect, m.redirect(m.spec.GetRedirect())
	case m.spec.GetRespond() != nil:
		m.out.Action, m.out.Respond = table.ActionRespond, respond(m.spec.GetRespond())
	default:
		m.out.Action = table.ActionForward
		m.forward(block)
	}
}

func (m *routeMaker) forward(block *routeBlock) {
	targets := block.target[:0]
	if n := len(m.spec.GetForward()); n > 1 {
		targets = make([]table.Target, 0, n)
	}
	var few [8]uint32
	weights, sum := few[:0], uint64(0)
	for i, f := range m.spec.GetForward() {
		u := m.built.Table.Upstream(f.GetUpstream())
		if u == nil && !m.exists(resource.Upstream, f.GetUpstream()) {
			m.missing(m.key, fmt.Sprintf("spec.forward[%d].upstream", i), tree.Key{Kind: resource.Upstream, Name: f.GetUpstream()})
		}
		// An upstream that is there but broken is nil, and has told its problems.
		weight := or(f.Weight, m.defaults.weight)
		targets = append(targets, table.Target{Upstream: u, Weight: weight})
		weights = append(weights, weight)
		sum += uint64(weight)
	}
	if sum == 0 {
		m.problem("spec.forward", "weights that are all 0", "at least one weight above 0")
	}
	m.out.Targets = targets
	m.out.Split = balance.NewSplit(weights)
	m.tunnel()
	m.retry()
}

func (m *routeMaker) redirect(d *fleetv1.Redirect) *table.Redirect {
	r := &table.Redirect{
		Status:    uint16(or(d.Status, m.defaults.status)),
		Scheme:    d.GetScheme(),
		Host:      d.GetHost(),
		Port:      uint16(d.GetPort()),
		KeepQuery: or(d.KeepQuery, m.defaults.keepQuery),
	}
	switch {
	case d.Path != nil:
		r.KeepQuery = or(d.KeepQuery, m.defaults.keepQueryOfPath)
		r.Change, r.Path = table.PathReplace, m.normalPath("spec.redirect.path", d.GetPath())
	case d.Prefix != nil:
		r.Change, r.Path = table.PathReplacePrefix, m.normalPath("spec.redirect.prefix", d.GetPrefix())
		r.Matched = m.matchedPrefix("spec.redirect.prefix", d.GetPrefix())
	}
	return r
}

// matchedPrefix is the prefix that a new one replaces.
func (m *routeMaker) matchedPrefix(field, prefix string) string {
	if m.out.Path.Kind != table.PathPrefix {
		m.problem(field, quote(prefix), "match.path.prefix in the same route, whose match it replaces")
	}
	return m.out.Path.Text
}

func (m *routeMaker) rewrite() {
	d := m.spec.GetRewrite()
	if d == nil {
		return
	}
	rw := &table.Rewrite{}
	if d.Host != nil {
		rw.Host = []byte(d.GetHost())
	}
	switch {
	case d.Path != nil:
		rw.Change, rw.Path = table.PathReplace, m.normalPath("spec.rewrite.path", d.GetPath())
	case d.Prefix != nil:
		rw.Change, rw.Path = table.PathReplacePrefix, m.normalPath("spec.rewrite.prefix", d.GetPrefix())
		rw.Matched = m.matchedPrefix("spec.rewrite.prefix", d.GetPrefix())
	case d.GetRegex() != nil:
		pattern := d.GetRegex().GetPattern()
		rw.Change, rw.Substitution = table.PathReplaceRegex, d.GetRegex().GetSubstitution()
		rw.Regex = m.regex(pattern, pattern, func() string { return "spec.rewrite.regex.pattern" })
	}
	m.out.Rewrite = rw
}
