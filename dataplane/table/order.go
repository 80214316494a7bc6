package table

import (
	"cmp"
	"slices"
	"strings"
)

// Compare is the order in which the routes of one host class are tried: negative
// if a comes before b. It is total among routes of different names.
func Compare(a, b *Route) int {
	return cmp.Or(compareRank(a, b), strings.Compare(a.Name, b.Name))
}

// SameRank tells whether only their names put a and b in order.
func SameRank(a, b *Route) bool { return compareRank(a, b) == 0 }

// compareRank is Compare without the name: 0 means that the two are ordered by
// name alone.
func compareRank(a, b *Route) int {
	if c := cmp.Compare(b.Priority, a.Priority); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Path.Kind, b.Path.Kind); c != 0 {
		return c
	}
	if a.Path.Kind == PathPrefix || a.Path.Kind == PathRegex {
		if c := cmp.Compare(len(b.Path.Text), len(a.Path.Text)); c != 0 {
			return c
		}
	}
	if a.Conditions == nil && b.Conditions == nil {
		return 0
	}
	am, ah, aq := a.Conditions.counts()
	bm, bh, bq := b.Conditions.counts()
	return cmp.Or(cmp.Compare(bm, am), cmp.Compare(bh, ah), cmp.Compare(bq, aq))
}

// counts is what precedence looks at: whether there are methods (1 or 0), and
// how many header and query matches.
func (c *Conditions) counts() (methods, headers, query int) {
	if c == nil {
		return 0, 0, 0
	}
	if c.hasMethods() {
		methods = 1
	}
	return methods, len(c.Headers), len(c.Query)
}

// sameMatch reports whether two routes take the very same requests of a host
// class at the same priority, so that one of them never gets any. Both are in
// normal form.
func sameMatch(a, b *Route) bool {
	if a.Priority != b.Priority || a.Path.Kind != b.Path.Kind || a.Path.Text != b.Path.Text {
		return false
	}
	if a.Conditions == nil || b.Conditions == nil {
		return a.Conditions == b.Conditions
	}
	x, y := a.Conditions, b.Conditions
	return x.Methods == y.Methods && slices.Equal(x.Others, y.Others) &&
		slices.EqualFunc(x.Headers, y.Headers, sameValue) &&
		slices.EqualFunc(x.Query, y.Query, sameValue) &&
		slices.Equal(x.Clients, y.Clients)
}

func sameValue(a, b ValueMatch) bool {
	return a.Name == b.Name && a.Kind == b.Kind && a.Invert == b.Invert && a.Text == b.Text
}

// ordered is a list of routes in the order of Compare. It is a value: changes
// give a new list. Most lists hold one route, which costs no memory of its own.
type ordered struct {
	first *Route
	rest  []*Route
}

func (o *ordered) len() int {
	if o.first == nil {
		return 0
	}
	return 1 + len(o.rest)
}

func (o *ordered) at(i int) *Route {
	if i == 0 {
		return o.first
	}
	return o.rest[i-1]
}

// search returns where r stands or would stand.
func (o *ordered) search(r *Route) (at int, found bool) {
	low, high := 0, o.len()
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch c := Compare(o.at(mid), r); {
		case c == 0:
			return mid, true
		case c < 0:
			low = mid + 1
		default:
			high = mid
		}
	}
	return low, false
}

// twin returns a route of the list with the same match as r, or nil. It would
// have the same rank, so it is next to where r would stand.
func (o *ordered) twin(r *Route) *Route {
	at, _ := o.search(r)
	for i := at - 1; i >= 0 && compareRank(o.at(i), r) == 0; i-- {
		if sameMatch(o.at(i), r) {
			return o.at(i)
		}
	}
	for i := at; i < o.len() && compareRank(o.at(i), r) == 0; i++ {
		if sameMatch(o.at(i), r) && o.at(i).Name != r.Name {
			return o.at(i)
		}
	}
	return nil
}

// with returns the list with r in its place, instead of one of the same name and
// rank if there is one.
func (o ordered) with(r *Route) ordered {
	at, found := o.search(r)
	switch {
	case o.first == nil, found && at == 0:
		return ordered{r, o.rest}
	case found:
		rest := slices.Clone(o.rest)
		rest[at-1] = r
		return ordered{o.first, rest}
	}
	rest := make([]*Route, 0, len(o.rest)+1)
	if at == 0 {
		return ordered{r, append(append(rest, o.first), o.rest...)}
	}
	rest = append(append(append(rest, o.rest[:at-1]...), r), o.rest[at-1:]...)
	return ordered{o.first, rest}
}

// without returns the list without the route of r's name and rank.
func (o ordered) without(r *Route) ordered {
	at, found := o.search(r)
	switch {
	case !found:
		return o
	case len(o.rest) == 0:
		return ordered{}
	case at == 0:
		return ordered{o.rest[0], slices.Clone(o.rest[1:])}
	}
	rest := make([]*Route, 0, len(o.rest)-1)
	rest = append(append(rest, o.rest[:at-1]...), o.rest[at:]...)
	return ordered{o.first, rest}
}

func (o *ordered) all(yield func(*Route) bool) bool {
	if o.first != nil && !yield(o.first) {
		return false
	}
	for _, r := range o.rest {
		if !yield(r) {
			return false
		}
	}
	return true
}
