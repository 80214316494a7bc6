package table

import "github.com/zeebo/xxh3"

// smallHost is up to how many routes of a host are tried one after the other.
const smallHost = 8

// MaxSharing bounds the routes that one host has for one exact path or one
// prefix, and those with a regex or without a path: they can only be tried one
// after the other, which happens on a loop where nothing may take 100 µs.
const MaxSharing = 1024

// hostRoutes are the routes of one host class.
type hostRoutes struct {
	few   ordered    // all of them, if paths is nil
	paths *pathIndex // of more than smallHost routes
}

func (h *hostRoutes) empty() bool { return h.few.first == nil && h.paths == nil }

// pathIndex finds routes by path. Immutable but for its owner.
type pathIndex struct {
	// ranked counts the routes with a priority other than 0. While there are
	// none, the first list that has a match has the best.
	ranked int
	// depths has a bit for each depth of a prefix; perDepth counts them.
	depths uint64
	prefix Trie[ordered] // by prefix, hashed by prefixHash
	exact  Trie[ordered] // by the whole path
	regex  ordered
	any    ordered
	// What matching does not read stands last.
	owner    *Edit
	n        int
	perDepth [64]uint32
}

// list returns the list that r stands in, or would.
func (p *pathIndex) list(r *Route) ordered {
	var o *ordered
	switch r.Path.Kind {
	case PathExact:
		o = p.exact.find(xxh3.HashString(r.Path.Text), r.Path.Text)
	case PathPrefix:
		o = p.prefix.find(prefixHash(r.Path.Text), r.Path.Text)
	case PathRegex:
		o = &p.regex
	default:
		o = &p.any
	}
	if o == nil {
		return ordered{}
	}
	return *o
}

// add puts r into p, which e owns.
func (p *pathIndex) add(e *Edit, r *Route) {
	p.n++
	p.ranked += btoi(r.Priority != 0)
	if r.Path.Kind == PathPrefix {
		depth := prefixDepth(r.Path.Text)
		p.depths |= 1 << depth
		p.perDepth[depth]++
	}
	p.put(e, r, p.list(r).with(r))
}

// replace puts r where one of the same name and match stands.
func (p *pathIndex) replace(e *Edit, r *Route) { p.put(e, r, p.list(r).with(r)) }

// remove takes r out of p, which e owns, if it is there.
func (p *pathIndex) remove(e *Edit, r *Route) {
	list := p.list(r)
	if _, found := list.search(r); !found {
		return
	}
	p.n--
	p.ranked -= btoi(r.Priority != 0)
	if r.Path.Kind == PathPrefix {
		depth := prefixDepth(r.Path.Text)
		if p.perDepth[depth]--; p.perDepth[depth] == 0 {
			p.depths &^= 1 << depth
		}
	}
	p.put(e, r, list.without(r))
}

// put makes o the list that r stands or stood in.
func (p *pathIndex) put(e *Edit, r *Route, o ordered) {
	key := r.Path.Text
	switch r.Path.Kind {
	case PathExact:
		putList(&p.exact, e, xxh3.HashString(key), key, o)
	case PathPrefix:
		putList(&p.prefix, e, prefixHash(key), key, o)
	case PathRegex:
		p.regex = o
	default:
		p.any = o
	}
}

func putList(t *Trie[ordered], e *Edit, hash uint64, key string, o ordered) {
	if o.first == nil {
		t.remove(e, hash, key)
		return
	}
	*t.upsert(e, hash, key) = o
}

// lists are the lists of a pathIndex whose path fits a request, or may (regexes),
// in order of precedence among routes of one priority.
type lists struct {
	n    int
	list [2*MaxPrefixSegments + 4]*ordered
	next [2*MaxPrefixSegments + 4]int32 // the first that was not tried yet
}

func (l *lists) add(o *ordered) {
	if o != nil && o.first != nil {
		l.list[l.n], l.next[l.n] = o, 0
		l.n++
	}
}

// match tries the routes whose path may fit, best first.
func (p *pathIndex) match(m *matcher) *Route {
	if p.ranked > 0 {
		return p.matchRanked(m)
	}
	if p.exact.n > 0 {
		if r := m.tryPath(p.exact.findBytes(xxh3.Hash(m.q.Path), m.q.Path)); r != nil {
			return r
		}
	}
	if p.depths != 0 {
		if r := p.matchPrefix(m, nil); r != nil {
			return r
		}
	}
	if r := m.tryAll(&p.regex); r != nil {
		return r
	}
	return m.tryPath(&p.any)
}

// matchPrefix tries the prefixes of the path, the longest first; or only lists
// them into l, if l is not nil.
func (p *pathIndex) matchPrefix(m *matcher, l *lists) *Route {
	if r := p.matchBelow(m, l, 0, 0, prefixSeed); r != nil {
		return r
	}
	if p.depths>>1&1 == 0 {
		return nil
	}
	return m.tryPrefix(p.prefix.find(addSlash(prefixSeed), "/"), l) // the empty path too
}

// matchBelow tries the prefixes that are longer than the first segments of the
// path, which end at path[at] and hash to h. It walks down the path, and tries
// on the way back.
func (p *pathIndex) matchBelow(m *matcher, l *lists, segments, at int, h uint64) *Route {
	path := m.q.Path
	segments++
	if at >= len(path) || p.depths>>(2*segments) == 0 {
		return nil
	}
	end, h := nextSegment(path, at, h)
	if r := p.matchBelow(m, l, segments, end, h); r != nil {
		return r
	}
	// "/api/" before "/api": it is longer.
	if p.depths>>(2*segments+1)&1 != 0 && end < len(path) {
		if r := m.tryPrefix(p.prefix.findBytes(addSlash(h), path[:end+1]), l); r != nil {
			return r
		}
	}
	if p.depths>>(2*segments)&1 != 0 {
		return m.tryPrefix(p.prefix.findBytes(h, path[:end]), l)
	}
	return nil
}

func (m *matcher) tryPrefix(o *ordered, l *lists) *Route {
	if l != nil {
		l.add(o)
		return nil
	}
	return m.tryPath(o)
}

// matchRanked merges the lists by priority, which stands above the path: of
// those whose next route has the highest, the first in rank goes on.
func (p *pathIndex) matchRanked(m *matcher) *Route {
	var l lists
	if p.exact.n > 0 {
		l.add(p.exact.findBytes(xxh3.Hash(m.q.Path), m.q.Path))
	}
	if p.depths != 0 {
		p.matchPrefix(m, &l)
	}
	l.add(&p.regex)
	l.add(&p.any)
	for {
		best, priority := -1, int32(0)
		for i := range l.n {
			if int(l.next[i]) == l.list[i].len() {
				continue
			}
			if p := l.list[i].at(int(l.next[i])).Priority; best < 0 || p > priority {
				best, priority = i, p
			}
		}
		if best < 0 {
			return nil
		}
		r := l.list[best].at(int(l.next[best]))
		l.next[best]++
		if m.try(r, false) {
			return r
		}
	}
}

// all yields every route of p, in no order.
func (p *pathIndex) all(yield func(*Route) bool) bool {
	for _, o := range p.exact.All() {
		if !o.all(yield) {
			return false
		}
	}
	for _, o := range p.prefix.All() {
		if !o.all(yield) {
			return false
		}
	}
	return p.regex.all(yield) && p.any.all(yield)
}
