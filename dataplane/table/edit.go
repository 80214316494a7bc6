package table

import (
	"fmt"

	"github.com/zeebo/xxh3"
)

// Editor makes an Index out of another one. It costs what changes. An Editor is
// used by one goroutine, once: after Index it must not be used again.
type Editor struct {
	x    Index
	edit *Edit
}

// Edit begins to change a copy of x.
func (x *Index) Edit() *Editor { return &Editor{x: *x, edit: new(Edit)} }

// Index returns the result.
func (e *Editor) Index() Index {
	e.edit = nil
	return e.x
}

// TwinError refuses a route: another one has the same match.
type TwinError struct {
	Route, Twin *Route
	Host        string // the host class that they share; empty: any host
}

func (e *TwinError) Error() string {
	return fmt.Sprintf("route %q: matches exactly what route %q matches on %s", e.Route.Name, e.Twin.Name, HostText(e.Host))
}

// SharingError refuses a route: MaxSharing others are tried one after the other
// where it belongs.
type SharingError struct {
	Route *Route
	Host  string
}

func (e *SharingError) Error() string {
	return fmt.Sprintf("route %q: %d other routes of %s can only be told apart by trying one after the other", e.Route.Name, MaxSharing, HostText(e.Host))
}

// HostText is a host class for people to read.
func HostText(class string) string {
	if class == "" {
		return "any host"
	}
	return "host " + class
}

// Add puts r under each of its hosts. A host under which it may not stand is left
// out and reported, as a *TwinError or a *SharingError.
func (e *Editor) Add(r *Route) (refused []error) {
	if len(r.Hosts) == 0 {
		if err := e.x.any.add(e.edit, r, ""); err != nil {
			refused = append(refused, err)
		}
		return refused
	}
	for _, host := range r.Hosts {
		t, key, labels := e.class(host)
		hash := xxh3.HashString(key)
		h := t.find(hash, key)
		var next hostRoutes
		if h != nil {
			next = *h
		}
		if err := next.add(e.edit, r, host); err != nil {
			refused = append(refused, err)
			continue
		}
		*t.upsert(e.edit, hash, key) = next
		if h == nil && labels > 0 {
			e.x.countLabels(labels, 1)
		}
	}
	return refused
}

// Remove takes out r, which is the very route that was added, from every host
// under which it stands.
func (e *Editor) Remove(r *Route) {
	if len(r.Hosts) == 0 {
		e.x.any.remove(e.edit, r)
		return
	}
	for _, host := range r.Hosts {
		t, key, labels := e.class(host)
		hash := xxh3.HashString(key)
		h := t.find(hash, key)
		if h == nil {
			continue
		}
		next := *h
		next.remove(e.edit, r)
		if !next.empty() {
			*t.upsert(e.edit, hash, key) = next
			continue
		}
		t.remove(e.edit, hash, key)
		if labels > 0 {
			e.x.countLabels(labels, -1)
		}
	}
}

// Replace puts r where a route of the same name, hosts and match stands.
func (e *Editor) Replace(r *Route) {
	if len(r.Hosts) == 0 {
		e.x.any.replace(e.edit, r)
		return
	}
	for _, host := range r.Hosts {
		t, key, _ := e.class(host)
		t.upsert(e.edit, xxh3.HashString(key), key).replace(e.edit, r)
	}
}

// class returns the trie in which a host pattern stands, and its key there.
func (e *Editor) class(host string) (t *Trie[hostRoutes], key string, labels int) {
	if suffix, ok := wildSuffix(host); ok {
		return &e.x.wild, suffix, WildcardLabels(host)
	}
	return &e.x.hosts, host, 0
}

func (x *Index) countLabels(labels, by int) {
	counts := [64]uint32{}
	if x.perLabels != nil {
		counts = *x.perLabels
	}
	counts[labels] += uint32(by)
	x.perLabels = &counts
	if counts[labels] == 0 {
		x.labels &^= 1 << labels
	} else {
		x.labels |= 1 << labels
	}
}

// own makes h's path index one that e may change.
func (h *hostRoutes) own(e *Edit) {
	if h.paths.owner == e {
		return
	}
	p := *h.paths
	p.owner = e
	h.paths = &p
}

func (h *hostRoutes) add(e *Edit, r *Route, host string) error {
	if h.paths == nil {
		if twin := h.few.twin(r); twin != nil {
			return &TwinError{Route: r, Twin: twin, Host: host}
		}
		if h.few.len() < smallHost {
			h.few = h.few.with(r)
			return nil
		}
		paths := &pathIndex{owner: e}
		h.few.all(func(r *Route) bool { paths.add(e, r); return true })
		*h = hostRoutes{paths: paths}
		paths.add(e, r)
		return nil
	}
	list := h.paths.list(r)
	if twin := list.twin(r); twin != nil {
		return &TwinError{Route: r, Twin: twin, Host: host}
	}
	if list.len() >= MaxSharing {
		return &SharingError{Route: r, Host: host}
	}
	h.own(e)
	h.paths.add(e, r)
	return nil
}

func (h *hostRoutes) replace(e *Edit, r *Route) {
	if h.paths == nil {
		h.few = h.few.with(r)
		return
	}
	h.own(e)
	h.paths.replace(e, r)
}

// remove keeps the path index until half of a small host is left, so that a
// route that comes and goes does not rebuild it each time.
func (h *hostRoutes) remove(e *Edit, r *Route) {
	if h.paths == nil {
		h.few = h.few.without(r)
		return
	}
	h.own(e)
	h.paths.remove(e, r)
	if h.paths.n > smallHost/2 {
		return
	}
	var few ordered
	h.paths.all(func(r *Route) bool { few = few.with(r); return true })
	*h = hostRoutes{few: few}
}
