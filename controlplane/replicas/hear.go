package replicas

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// maxPlanes bounds the other control planes that are heard: a fleet has two or three.
	maxPlanes = 32
	// unnamed is a control plane that has not said who it is yet.
	unnamed = "another control plane"
)

// hearing is what other control planes tell.
type hearing struct {
	due    time.Time // of the next look
	looked bool
	planes map[string]*plane
	others time.Time // when there were any; zero: never
}

// plane is another control plane. What it holds is replaced, never changed.
type plane struct {
	id      string
	name    string
	build   string
	lease   int64
	records map[string]record // by name
}

// record is what a record says: one of both.
type record struct {
	revision int64
	told     []*nodes.Told
	reports  map[string]*nodes.Reports
}

// look reads what is told, if it is time.
func (r *Replicas) look(ctx context.Context) {
	now := r.c.Now()
	if now.Before(r.hears.due) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	told, err := r.c.Store.AllTold(ctx, r.known())
	r.noteHeard(now, err)
	if err != nil {
		r.hears.due = r.c.Now().Add(retry)
		return
	}
	r.hears.due = now.Add(lookEvery)
	r.checkOwn(told)
	before := r.isHeard()
	changed := r.hears.take(told, r.me, r.unread)
	if !r.hears.looked {
		r.hears.looked = true
		r.bury(ctx)
	}
	if changed {
		r.c.Nodes.Hear(now, merge(r.hears.planes))
	} else {
		r.c.Nodes.Hear(now, nil)
	}
	if len(r.hears.planes) > 0 {
		r.hears.others = now
	}
	if r.isHeard() && !before {
		r.tells.nodes.begin(now)
		r.tells.vips.begin(now)
	}
	r.shown.mu.Lock()
	r.shown.counters.Others = len(r.hears.planes)
	if changed {
		r.shown.others = others(r.hears.planes)
	}
	r.shown.mu.Unlock()
}

// others are control planes as people see them.
func others(planes map[string]*plane) []Other {
	list := make([]Other, 0, len(planes))
	for _, p := range planes {
		list = append(list, Other{p.name, p.build})
	}
	slices.SortFunc(list, func(a, b Other) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// bury ends what is left of the process that was here before, if that was killed: it has the
// address that this one has now. Another control plane of this name, as on a machine that was
// copied, tells all again in some seconds.
func (r *Replicas) bury(ctx context.Context) {
	for id, p := range r.hears.planes {
		if p.name != r.c.Name {
			continue
		}
		if err := r.c.Store.EndLease(ctx, p.lease); err != nil {
			r.log.Warn("replicas: what a process before this one told could not be ended; it ends by itself", "error", err, "within", leaseTTL)
			continue
		}
		delete(r.hears.planes, id)
	}
}

// known are the revisions of what needs not be read again.
func (r *Replicas) known() map[string]int64 {
	known := make(map[string]int64, len(r.tells.written))
	for name, revision := range r.tells.written {
		known[name] = revision
	}
	for _, p := range r.hears.planes {
		for name, of := range p.records {
			known[name] = of.revision
		}
	}
	return known
}

// checkOwn has all told anew where what stands in etcd is not what this control plane told:
// etcd was put back, or a write of which no answer came took place later.
func (r *Replicas) checkOwn(told map[string]store.Told) {
	own := map[string]int64{}
	for name, value := range told {
		if id, _, _ := parseName(name); id == r.me {
			own[name] = value.Revision
		}
	}
	if maps.Equal(own, r.tells.written) {
		return
	}
	if r.tells.lease != 0 {
		r.log.Info("replicas: what was told is not what stands in etcd, and is told anew")
	}
	r.tellAll()
	r.tells.written = own // so that what is no more is taken back
}

// unread notes a record that cannot be read.
func (r *Replicas) unread(name string, err error) {
	r.log.Error("replicas: what another control plane tells cannot be read; is it of a newer build?", "name", name, "error", err)
}

// take takes what is told now in place of what was, and reports whether anything is another.
func (h *hearing) take(told map[string]store.Told, me string, unread func(name string, err error)) (changed bool) {
	next := map[string]*plane{}
	for name, value := range told {
		id, kind, ok := parseName(name)
		if !ok || id == me {
			continue
		}
		before, known := h.planes[id]
		p := next[id]
		if p == nil {
			if len(next) == maxPlanes {
				continue
			}
			p = &plane{id: id, name: unnamed, records: map[string]record{}}
			next[id] = p
			if known {
				p.name, p.build = before.name, before.build
			}
		}
		p.lease = value.Lease
		if value.Value == nil {
			p.records[name] = before.records[name]
			continue
		}
		changed = true
		of, err := p.read(kind, value)
		if err != nil {
			unread(name, err)
		}
		p.records[name] = of
	}
	for id, p := range h.planes {
		changed = changed || next[id] == nil || len(next[id].records) != len(p.records)
	}
	h.planes = next
	return changed
}

// read reads a record of the control plane.
func (p *plane) read(kind string, value store.Told) (of record, err error) {
	of.revision = value.Revision
	switch kind {
	case kindSelf:
		self := &fleetv1.ReplicaRecord{}
		if err = proto.Unmarshal(value.Value, self); err == nil {
			p.name, p.build = self.GetName(), self.GetBuild()
		}
	case kindNodes:
		of.told, err = readSightings(value.Value, value.Revision)
	case kindVIPs:
		of.reports, err = readReports(value.Value)
	}
	return of, err
}

// merge has of each node its latest connection.
func merge(planes map[string]*plane) map[string]nodes.Elsewhere {
	latest, at := map[string]nodes.Elsewhere{}, map[string]*plane{}
	for _, p := range planes {
		for _, of := range p.records {
			for _, t := range of.told {
				e, twice, two := latest[t.Node], false, false
				if e.Told != nil {
					twice, two = e.Twice || e.Boot() != t.Boot(), e.Two || e.Beside(t)
				}
				if e.Told == nil || t.Order > e.Order || t.Order == e.Order && p.name > e.Replica {
					e = nodes.Elsewhere{Told: t, Replica: p.name}
					at[t.Node] = p
				}
				e.Twice, e.Two = twice, two
				latest[t.Node] = e
			}
		}
	}
	for id, e := range latest {
		p := at[id]
		e.Reports = p.records[nameOf(p.id, kindVIPs, groupOf(id))].reports[id]
		latest[id] = e
	}
	return latest
}

// noteHeard takes note of whether what others tell can be read.
func (r *Replicas) noteHeard(now time.Time, err error) {
	r.shown.mu.Lock()
	news := r.shown.heard.note(now, err)
	if err == nil {
		r.shown.counters.Heard = now
	}
	r.shown.mu.Unlock()
	switch {
	case news && err != nil:
		r.log.Warn("replicas: what other control planes tell cannot be read", "error", err, "retry_in", retry)
	case news:
		r.log.Info("replicas: what other control planes tell is read again")
	}
}
