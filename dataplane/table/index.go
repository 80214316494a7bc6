package table

import (
	"iter"
	"math/bits"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// Index finds the route of a request among those of a listener. The zero value
// has no routes. An Index is immutable and shares what it can with the one it was
// edited from.
//
// Hosts are looked up by hash: the exact name, then, from the longest, each
// suffix for which a wildcard of so many labels exists, then the routes of any
// host. Within a host a few routes are tried in order; more are looked up by the
// hash of the whole path, and of each of its beginnings at whose depth a prefix
// exists. Only regexes, and routes that share a path, are tried one after the
// other.
type Index struct {
	hosts Trie[hostRoutes] // by exact host
	wild  Trie[hostRoutes] // by pattern; looked up by the part after "*"
	any   hostRoutes
	// labels has a bit for each number of labels after "*." of a wildcard;
	// perLabels counts them.
	labels    uint64
	perLabels *[64]uint32
}

// MaxWildcardLabels bounds the labels after the "*." of a host pattern.
const MaxWildcardLabels = 63

// Match returns the route that q gets, or nil. It does not allocate.
func (l *Listener) Match(q *Query) *Route {
	m := matcher{q: q}
	return l.Routes.match(&m)
}

// Explain calls report for each step that Match takes for q, in order: the
// candidates that the index gave, each with the clause that failed, the route
// that matched last of all, and each host class that no route has.
func (l *Listener) Explain(q *Query, report func(Step)) {
	m := matcher{q: q, report: report}
	l.Routes.match(&m)
}

// matcher is one walk. Only report tells Explain from Match.
type matcher struct {
	q      *Query
	report func(Step) // nil for Match
	class  string     // with report
}

func (x *Index) match(m *matcher) *Route {
	host := m.q.Host
	if x.hosts.n > 0 && len(host) > 0 {
		if m.report != nil {
			m.class = string(host)
		}
		if r := x.hosts.findBytes(xxh3.Hash(host), host).match(m); r != nil {
			return r
		}
	}
	if x.labels != 0 {
		if r := x.matchWild(m, host); r != nil {
			return r
		}
	}
	m.class = ""
	return x.any.match(m)
}

// matchWild tries the wildcards of host, the longest suffix first. "*" stands
// for one label or more, so the first label never belongs to the suffix.
func (x *Index) matchWild(m *matcher, host []byte) *Route {
	var at [MaxWildcardLabels + 1]int32 // of the dot before the last i labels
	labels, deepest := 0, bits.Len64(x.labels)-1
	for i := len(host) - 1; i >= 0 && labels < deepest; i-- {
		if host[i] == '.' {
			labels++
			at[labels] = int32(i)
		}
	}
	for ; labels > 0; labels-- {
		if x.labels>>labels&1 == 0 {
			continue
		}
		suffix := host[at[labels]+1:]
		if m.report != nil {
			m.class = "*." + string(suffix)
		}
		if r := x.wild.findBytes(xxh3.Hash(suffix), suffix).match(m); r != nil {
			return r
		}
	}
	return nil
}

// match tries the routes of one host class. h may be nil.
func (h *hostRoutes) match(m *matcher) *Route {
	switch {
	case h == nil || h.empty():
		if m.report != nil {
			m.report(Step{Class: m.class})
		}
		return nil
	case h.paths != nil:
		return h.paths.match(m)
	}
	return m.tryAll(&h.few)
}

// tryAll tries the routes of a list in order.
func (m *matcher) tryAll(o *ordered) *Route { return m.tryList(o, false) }

// tryPath is tryAll for routes whose path is known to fit. o may be nil.
func (m *matcher) tryPath(o *ordered) *Route {
	if o == nil {
		return nil
	}
	return m.tryList(o, true)
}

func (m *matcher) tryList(o *ordered, pathFits bool) *Route {
	if o.first == nil {
		return nil
	}
	if m.try(o.first, pathFits) {
		return o.first
	}
	for _, r := range o.rest {
		if m.try(r, pathFits) {
			return r
		}
	}
	return nil
}

func (m *matcher) try(r *Route, pathFits bool) bool {
	failed, at := ClauseNone, 0
	switch {
	case !pathFits && !r.Path.fits(m.q.Path):
		failed = ClausePath
	case r.Conditions != nil:
		failed, at = r.Conditions.fits(m.q)
	}
	if m.report != nil {
		m.report(Step{Class: m.class, Route: r, Failed: failed, At: at})
	}
	return failed == ClauseNone
}

// All yields every host class ("" for any host) with its routes in the order in
// which they are tried, classes in no order.
func (x *Index) All() iter.Seq2[string, []*Route] {
	return func(yield func(string, []*Route) bool) {
		for host, h := range x.hosts.All() {
			if !yield(host, h.sorted()) {
				return
			}
		}
		for suffix, h := range x.wild.All() {
			if !yield("*."+suffix, h.sorted()) {
				return
			}
		}
		if !x.any.empty() {
			yield("", x.any.sorted())
		}
	}
}

func (h *hostRoutes) sorted() []*Route {
	var out []*Route
	keep := func(r *Route) bool { out = append(out, r); return true }
	if h.paths == nil {
		h.few.all(keep)
		return out
	}
	h.paths.all(keep)
	slices.SortFunc(out, Compare)
	return out
}

// wildSuffix returns what follows "*." of a pattern.
func wildSuffix(pattern string) (suffix string, ok bool) {
	return strings.CutPrefix(pattern, "*.")
}

// WildcardLabels counts the labels after the "*." of a host pattern, to be held
// against MaxWildcardLabels; 0 for an exact host.
func WildcardLabels(pattern string) int {
	suffix, ok := wildSuffix(pattern)
	if !ok {
		return 0
	}
	return strings.Count(suffix, ".") + 1
}
