package upstream

import (
	"sync"
	"sync/atomic"
)

// Slots come in chunks that never move, so that a loop reads them while another
// goroutine adds more.
const (
	chunkSize = 256
	maxChunks = 4096
	// MaxEndpoints bounds the endpoints of one node: over a million.
	MaxEndpoints = chunkSize * maxChunks
)

// Endpoint is the node-wide state of one endpoint.
type Endpoint struct {
	inFlight    atomic.Int32 // requests sent and not finished
	connections atomic.Int32 // open or opening, in every pool
	waiting     atomic.Int32 // streams that wait for a connection, in every pool
	short       atomic.Int32 // pools whose streams wait, and that have less than their part
	_           [48]byte     // a cache line of its own: loops write it all the time
}

// InFlight is the number of requests that the node has at the endpoint.
func (e *Endpoint) InFlight() int { return int(e.inFlight.Load()) }

// Connections is the number of the node's connections to the endpoint.
func (e *Endpoint) Connections() int { return int(e.connections.Load()) }

// Waiting is the number of requests that wait for a connection.
func (e *Endpoint) Waiting() int { return int(e.waiting.Load()) }

// Begin counts a request that is sent to the endpoint; End takes it back.
func (e *Endpoint) Begin() { e.inFlight.Add(1) }

// End ends what Begin began.
func (e *Endpoint) End() { e.inFlight.Add(-1) }

// Identity names an endpoint across tables.
type Identity struct{ Upstream, Address string }

// Registry gives slots to endpoints and to upstreams.
type Registry struct {
	endpointStates chunks[Endpoint]
	upstreamStates chunks[Upstream]
	loops          int // immutable: how many Released end a slot

	mu        sync.Mutex
	endpoints names[Identity]
	upstreams names[string]
}

// NewRegistry makes the registry of a node with that many loops.
func NewRegistry(loops int) *Registry {
	return &Registry{loops: loops}
}

// Endpoint returns the state behind a slot that Bind gave out.
func (r *Registry) Endpoint(slot uint32) *Endpoint {
	return r.endpointStates.at(slot)
}

// Upstream returns the state behind an upstream's slot, likewise.
func (r *Registry) Upstream(slot uint32) *Upstream {
	return r.upstreamStates.at(slot)
}

// Retired tells the loops which slots a new table no longer has.
type Retired struct {
	Endpoints []uint32
	Upstreams []uint32
}

// Empty says that nothing was retired.
func (r Retired) Empty() bool { return len(r.Endpoints)+len(r.Upstreams) == 0 }

// Released is called once by every loop that has let go of the slots. A loop
// that still has busy connections to a retired endpoint may release it: they go
// on counting on the Endpoint that they have, and the slot gets another.
func (r *Registry) Released(retired Retired) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, slot := range retired.Endpoints {
		r.endpoints.release(slot, r.loops)
	}
	for _, slot := range retired.Upstreams {
		r.upstreams.release(slot, r.loops)
	}
}

// Slots is how many endpoint slots exist, in use or free.
func (r *Registry) Slots() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.endpoints.next)
}

// chunks holds the states behind slots.
type chunks[T any] [maxChunks]atomic.Pointer[[chunkSize]atomic.Pointer[T]]

func (c *chunks[T]) at(slot uint32) *T {
	return c[slot/chunkSize].Load()[slot%chunkSize].Load()
}

// begin puts a new state behind a slot.
func (c *chunks[T]) begin(slot uint32) {
	chunk := &c[slot/chunkSize]
	if chunk.Load() == nil {
		chunk.Store(new([chunkSize]atomic.Pointer[T]))
	}
	chunk.Load()[slot%chunkSize].Store(new(T))
}

// names gives numbers to names: a name keeps its number while it lives, and a
// number is used again only after every loop has released it.
type names[K comparable] struct {
	slots    map[K]uint32
	seen     map[K]uint64 // generation of the last table that had the name
	gen      uint64
	free     []uint32
	next     uint32
	releases map[uint32]int
}

func (n *names[K]) begin() {
	if n.slots == nil {
		n.slots = make(map[K]uint32)
		n.seen = make(map[K]uint64)
		n.releases = make(map[uint32]int)
	}
	n.gen++
}

// use returns the number of a name that the table being bound has, and whether
// the name is new.
func (n *names[K]) use(k K) (slot uint32, fresh bool) {
	n.seen[k] = n.gen
	if slot, ok := n.slots[k]; ok {
		return slot, false
	}
	if last := len(n.free) - 1; last >= 0 {
		slot, n.free = n.free[last], n.free[:last]
	} else {
		slot = n.next
		n.next++
	}
	n.slots[k] = slot
	return slot, true
}

// sweep forgets the names that the bound table does not have.
func (n *names[K]) sweep() (retired []uint32) {
	for k, gen := range n.seen {
		if gen == n.gen {
			continue
		}
		retired = append(retired, n.slots[k])
		delete(n.slots, k)
		delete(n.seen, k)
	}
	return retired
}

func (n *names[K]) release(slot uint32, loops int) {
	n.releases[slot]++
	if n.releases[slot] < loops {
		return
	}
	delete(n.releases, slot)
	n.free = append(n.free, slot)
}
