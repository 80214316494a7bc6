package upstream

import (
	"fmt"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Bind gives every upstream and endpoint of a table its slot. It runs before the
// table is published, never at the same time as another Bind, and tells which
// slots the table before it had and this one does not. Slots of objects that an
// earlier table shares are written with the value that they have.
func (r *Registry) Bind(t *table.Table) (Retired, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := countEndpoints(t); n > MaxEndpoints/2 {
		return Retired{}, fmt.Errorf("table: %d endpoints, a node takes %d", n, MaxEndpoints/2)
	}
	if n := len(t.Upstreams); n > MaxEndpoints/2 {
		return Retired{}, fmt.Errorf("table: %d upstreams, a node takes %d", n, MaxEndpoints/2)
	}
	r.endpoints.begin()
	r.upstreams.begin()
	for _, u := range t.Upstreams {
		slot, fresh := r.upstreams.use(u.Name)
		if fresh {
			r.upstreamStates.begin(slot)
		}
		bindSlot(&u.Slot, slot)
		for i := range u.Endpoints {
			e := &u.Endpoints[i]
			slot, fresh := r.endpoints.use(Identity{Upstream: u.Name, Address: e.Address})
			if fresh {
				r.endpointStates.begin(slot)
			}
			bindSlot(&e.Slot, slot)
		}
	}
	return Retired{Endpoints: r.endpoints.sweep(), Upstreams: r.upstreams.sweep()}, nil
}

// bindSlot writes only what is new: objects that a live table shares are being
// read by the loops.
func bindSlot(slot *uint32, value uint32) {
	if *slot != value {
		*slot = value
	}
}

func countEndpoints(t *table.Table) int {
	n := 0
	for _, u := range t.Upstreams {
		n += len(u.Endpoints)
	}
	return n
}

// Picker chooses endpoints for one loop. It keeps a cursor for every upstream,
// so that a push does not begin the order anew.
type Picker struct {
	registry *Registry
	random   Random
	cursors  []uint32 // by upstream slot
	loads    loads
}

// Random gives 64 random bits.
type Random interface{ Uint64() uint64 }

// NewPicker makes the picker of one loop.
func NewPicker(r *Registry, random Random) *Picker {
	return &Picker{registry: r, random: random}
}

// Pick chooses an endpoint of u. It avoids except (-1: nothing to avoid) if
// another one takes requests. A choice that avoids one leaves the order where it
// is: else the first attempts of two endpoints would all go to the one that fails,
// and their retries to the other.
func (p *Picker) Pick(u *table.Upstream, except int) (int, bool) {
	if except < 0 || u.Algorithm != table.AlgorithmRoundRobin {
		return p.avoid(u, except)
	}
	if int(u.Slot) < len(p.cursors) {
		defer func(cursor uint32) { p.cursors[u.Slot] = cursor }(p.cursors[u.Slot])
	}
	return p.avoid(u, except)
}

func (p *Picker) avoid(u *table.Upstream, except int) (int, bool) {
	// One endpoint may come up again and again in a weighted order; after this
	// many tries it is the one there is.
	const tries = 8
	var index int
	var ok bool
	for range tries {
		index, ok = p.pick(u)
		if !ok || index != except {
			return index, ok
		}
	}
	for i := range u.Endpoints {
		if i != except && u.Endpoints[i].Weight > 0 {
			return i, true
		}
	}
	return index, ok
}

func (p *Picker) pick(u *table.Upstream) (int, bool) {
	if u.Algorithm == table.AlgorithmLeastRequest {
		p.loads = loads{p.registry, u}
		index, ok := u.LeastRequest.Pick(p.random.Uint64(), &p.loads)
		p.loads.upstream = nil
		return index, ok
	}
	for int(u.Slot) >= len(p.cursors) {
		// Loops that begin at the same place would all begin with the same endpoint.
		p.cursors = append(p.cursors, uint32(p.random.Uint64()))
	}
	cursor := p.cursors[u.Slot]
	p.cursors[u.Slot]++
	return u.RoundRobin.Pick(cursor)
}

// loads shows balance the requests in flight on the whole node.
type loads struct {
	registry *Registry
	upstream *table.Upstream
}

func (l *loads) InFlight(i int) uint32 {
	return uint32(max(l.registry.Endpoint(l.upstream.Endpoints[i].Slot).InFlight(), 0))
}
