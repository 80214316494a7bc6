//go:build linux

package evloop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/dataplane/upstream"
)

// Engine runs the loops of a node and applies tables to them.
type Engine struct {
	// immutable
	config   Config
	log      *slog.Logger
	base     time.Time
	stats    *stats.Set
	registry *upstream.Registry
	tickets  *secure.Tickets
	loops    []*Loop
	ceilings ceilings
	crew     *crew // shakes hands for all loops

	live     table.Live                // the table in force: loops look at it with each new exchange
	pressure atomic.Uint32             // a pressure.Level
	probing  atomic.Pointer[probeMark] // the self-probe that waits for an answer; nil: none

	changing   chan struct{}                // holds a token during Apply and SetDrained, or while these are suspended; put in before mu is locked
	mu         sync.Mutex                   // one Apply at a time
	bindings   map[netip.AddrPort]*binding  // guarded by mu
	removed    map[netip.AddrPort]time.Time // guarded by mu; when the bindings were removed whose sockets may still be open
	inherit    map[netip.AddrPort][]int     // guarded by mu; sockets that no table has asked for yet
	shared     map[netip.AddrPort]int       // guarded by mu; our copies of what Share brought
	drained    bool                         // guarded by mu; the node listens nowhere
	clienteles map[string]*clientele        // guarded by mu; by the listener's name
	released   bool                         // guarded by mu; another process listens instead
	stopped    chan struct{}                // closed when Run has ended
}

// New makes an engine. It starts nothing; Run does.
func New(c Config) (*Engine, error) {
	if c.Loops <= 0 {
		c.Loops = 1
	}
	if !c.NodeAddress.IsValid() {
		c.NodeAddress = netip.IPv6Unspecified()
	}
	if c.DrainTimeout <= 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.Permit == nil {
		c.Permit = permit.New(1)
	}
	base := time.Now()
	tickets, err := secure.NewTickets(base)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		config:     c,
		log:        c.Logger,
		base:       base,
		stats:      c.Stats,
		registry:   upstream.NewRegistry(c.Loops),
		tickets:    tickets,
		bindings:   make(map[netip.AddrPort]*binding),
		removed:    make(map[netip.AddrPort]time.Time),
		inherit:    maps.Clone(c.Inherit),
		shared:     make(map[netip.AddrPort]int),
		clienteles: make(map[string]*clientele),
		changing:   make(chan struct{}, 1),
		stopped:    make(chan struct{}),
		crew:       newCrew(c.Permit),
		ceilings:   newCeilings(c.MaxClients),
	}
	e.live.Store(&table.Table{})
	for i := range c.Loops {
		l, err := newLoop(e, i)
		if err != nil {
			for _, l := range e.loops {
				l.poller.Close()
				l.sockets.reserve.close()
			}
			return nil, err
		}
		e.loops = append(e.loops, l)
	}
	return e, nil
}

// lookAtKeys is how often the keys of session tickets are looked at.
const lookAtKeys = time.Minute

// SetTicketKeys makes keys those by which sessions are sealed, so that nodes with
// the same keys resume each other's. The first seals, all open. No keys: the node
// makes its own.
func (e *Engine) SetTicketKeys(keys [][32]byte) { e.tickets.Set(keys) }

// Live points to the table in force. Before the first Apply it is empty.
func (e *Engine) Live() *table.Live { return &e.live }

// SetPressure says how much work the node should still take.
func (e *Engine) SetPressure(level pressure.Level) {
	e.pressure.Store(uint32(level))
	for _, l := range e.loops {
		l.poller.Wake()
	}
}

// Pressure is what SetPressure said last.
func (e *Engine) Pressure() pressure.Level { return pressure.Level(e.pressure.Load()) }

// BufferBytes is how much memory connections hold for bytes that wait.
func (e *Engine) BufferBytes() int64 {
	var sum int64
	for _, l := range e.loops {
		sum += l.counts.bufferBytes.Load()
	}
	return sum
}

// EndpointLoad is what the node has at an endpoint, by its slot.
func (e *Engine) EndpointLoad(slot uint32) (inFlight, connections, waiting int) {
	p := e.registry.Endpoint(slot)
	return p.InFlight(), p.Connections(), p.Waiting()
}

// Run runs the loops until ctx ends; then it accepts no more, lets the exchanges
// at hand end, and cuts what is left after DrainTimeout. A loop that fails ends
// the others.
func (e *Engine) Run(ctx context.Context) error {
	defer e.closeShared()
	defer close(e.stopped)
	errs := make(chan error, len(e.loops))
	for _, l := range e.loops {
		go func() { errs <- l.run() }()
	}
	var first error
	left := len(e.loops)
	look := time.NewTicker(lookAtKeys)
	defer look.Stop()
	for running := true; running; {
		select {
		case now := <-look.C:
			if err := e.tickets.Step(now); err != nil {
				e.log.Error("session tickets", "error", err)
			}
			continue
		case <-ctx.Done():
			e.tellAll(mail{kind: mailDrain})
		case first = <-errs:
			left--
			e.tellAll(mail{kind: mailStop})
		}
		running = false
	}
	defer e.crew.end()
	timeout := time.NewTimer(e.config.DrainTimeout)
	defer timeout.Stop()
	for left > 0 {
		select {
		case err := <-errs:
			left--
			first = errors.Join(first, err)
		case <-timeout.C:
			e.log.Warn("drain timeout: connections are cut", "timeout", e.config.DrainTimeout)
			e.tellAll(mail{kind: mailStop})
		}
	}
	return first
}

// tellAll tells every loop that still runs. A full box is waited for: its loop
// empties it, or ends.
func (e *Engine) tellAll(letter mail) {
	for _, l := range e.loops {
		for !l.ended.Load() && !l.mail.post(letter) {
			runtime.Gosched()
		}
	}
}

// errStopped is the answer to changes that come too late.
var errStopped = errors.New("engine: it has stopped")

// tellOthers sends a hint. A loop whose box is full looks at all pools when it has
// emptied it.
func (e *Engine) tellOthers(from *Loop, letter mail) {
	for _, l := range e.loops {
		if l != from {
			l.mail.hint(letter)
		}
	}
}

// Apply makes a table live: listeners that are new are opened first, then the
// table is swapped, then what it no longer has is let go. When Apply returns nil
// every loop serves the table. An error is a matter of this node (a port in use,
// memory), not of the table. One from before the swap leaves the table before in
// force; after it the table is live, and Apply of the same table tries the rest
// again.
func (e *Engine) Apply(ctx context.Context, t *table.Table) error {
	if err := e.Suspend(ctx); err != nil {
		return err
	}
	defer e.Resume()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.apply(ctx, t)
}

// SetDrained makes the node listen nowhere, whatever tables come, or takes that
// back. Connections that are open end after the answer at hand.
func (e *Engine) SetDrained(ctx context.Context, drained bool) error {
	if err := e.Suspend(ctx); err != nil {
		return err
	}
	defer e.Resume()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.drained == drained {
		return nil
	}
	e.drained = drained
	if err := e.apply(ctx, e.live.Load()); err != nil {
		e.drained = !drained
		return err
	}
	return nil
}

// apply is Apply under mu.
func (e *Engine) apply(ctx context.Context, t *table.Table) error {
	wanted := e.wanted(t)
	changes := make([]change, len(e.loops))
	var opened []*binding
	for address, ls := range wanted {
		if e.bindings[address] != nil {
			continue
		}
		b := &binding{address: address, clientele: e.clienteleOf(ls.Name)}
		if err := e.open(b, ls); err != nil {
			e.abandon(opened)
			return err
		}
		opened = append(opened, b)
		for i, s := range b.sockets {
			c := &changes[i%len(changes)]
			c.open = append(c.open, s)
		}
	}
	retired, err := e.registry.Bind(t)
	if err != nil {
		e.abandon(opened)
		return err
	}
	bindSeries(e.stats, t)
	warm := keptWarm(e.live.Load(), t)
	limited := limitsChange(e.live.Load(), t)
	e.live.Store(t)
	rebound := e.rebind(wanted)
	for name := range e.clienteles {
		if t.Listener(name) == nil {
			delete(e.clienteles, name) // connections that are open keep it
		}
	}
	for _, b := range opened {
		e.bindings[b.address] = b
		delete(e.inherit, b.address)
	}
	maps.DeleteFunc(e.removed, func(_ netip.AddrPort, at time.Time) bool { return time.Since(at) > removedTime })
	var remove []netip.AddrPort
	for address := range e.bindings {
		if wanted[address] == nil {
			remove = append(remove, address)
			delete(e.bindings, address)
			e.removed[address] = time.Now()
		}
	}
	if len(opened) == 0 && len(remove) == 0 && retired.Empty() && !limited && len(warm)+len(rebound) == 0 {
		return nil
	}
	for i := range changes {
		changes[i].rebound, changes[i].remove, changes[i].retired, changes[i].warm = rebound, remove, retired, warm
	}
	return e.deliver(ctx, changes)
}

// rebind gives the addresses that have another listener now the bindings of that one.
func (e *Engine) rebind(wanted map[netip.AddrPort]*table.Listener) (rebound []*binding) {
	for address, b := range e.bindings {
		ls := wanted[address]
		if ls == nil || b.clientele == e.clienteleOf(ls.Name) {
			continue
		}
		next := *b
		next.clientele = e.clienteleOf(ls.Name)
		e.bindings[address] = &next
		rebound = append(rebound, &next)
	}
	return rebound
}

// clienteleOf is what counts a listener's clients.
func (e *Engine) clienteleOf(name string) *clientele {
	c := e.clienteles[name]
	if c == nil {
		c = new(clientele)
		e.clienteles[name] = c
	}
	return c
}

// open gives a binding its sockets.
func (e *Engine) open(b *binding, ls *table.Listener) error {
	if fd, ok := e.shared[b.address]; ok {
		return shareSockets(b, ls, len(e.loops), fd)
	}
	return openSockets(b, ls, len(e.loops), e.inherit[b.address], e.covers(b.address))
}

// covers says that a binding of our own overlaps an address: it is about to be
// replaced, or was removed a moment ago, and in the way of a probe.
func (e *Engine) covers(address netip.AddrPort) bool {
	for own := range e.bindings {
		if overlap(own, address) {
			return true
		}
	}
	for own, at := range e.removed {
		if time.Since(at) <= removedTime && overlap(own, address) {
			return true
		}
	}
	return false
}

// removedTime is how long a removed socket is open at most: a loop may be late.
const removedTime = 2 * time.Duration(tcpHandshakeTime)

// wanted is where a table's listeners listen on this node: of virtual IPs, at
// those that it was given the sockets of.
func (e *Engine) wanted(t *table.Table) map[netip.AddrPort]*table.Listener {
	wanted := make(map[netip.AddrPort]*table.Listener)
	if e.drained || e.released {
		return wanted
	}
	for i := range t.Listeners {
		ls := &t.Listeners[i]
		for _, a := range ls.Addresses {
			address := e.resolve(ls, a)
			if _, ok := e.shared[address]; ok || a.Kind != table.AddressVIP {
				wanted[address] = ls
			}
		}
	}
	return wanted
}

func (e *Engine) resolve(ls *table.Listener, a table.Address) netip.AddrPort {
	if a.Kind == table.AddressNode {
		return netip.AddrPortFrom(e.config.NodeAddress, ls.Port)
	}
	return netip.AddrPortFrom(a.IP, ls.Port)
}

// listenerAt finds the listener of an address in a table; nil: it has none.
func (e *Engine) listenerAt(t *table.Table, address netip.AddrPort) *table.Listener {
	for i := range t.Listeners {
		if ls := &t.Listeners[i]; e.listensAt(ls, address) {
			return ls
		}
	}
	return nil
}

// listensAt says that a listener has an address.
func (e *Engine) listensAt(ls *table.Listener, address netip.AddrPort) bool {
	return ls.Port == address.Port() && slices.ContainsFunc(ls.Addresses, func(a table.Address) bool { return e.resolve(ls, a) == address })
}

// deliver hands each loop its part of a change and waits until all have it.
func (e *Engine) deliver(ctx context.Context, changes []change) error {
	done := make(chan error, len(changes))
	for i, l := range e.loops {
		changes[i].done = done
		select {
		case l.mail.box <- mail{kind: mailChange, change: &changes[i]}:
			l.poller.Wake()
		case <-e.stopped:
			return errStopped
		}
	}
	var first error
	for range e.loops {
		select {
		case err := <-done:
			first = errors.Join(first, err)
		case <-e.stopped:
			return errStopped
		case <-ctx.Done():
			return fmt.Errorf("engine: a loop did not take the change: %w", ctx.Err())
		}
	}
	return first
}

// follow finds the socket's listener in a new table. A socket that the table
// does not have keeps its listener until it is removed.
func (s *socket) follow(e *Engine, t *table.Table) error {
	old := s.listener
	// Nearly always it has its name, and with a thousand listeners to look for the address
	// of each among all of them would take longer than a turn may.
	ls := t.Listener(old.Name)
	if ls == nil || !e.listensAt(ls, s.binding.address) {
		ls = e.listenerAt(t, s.binding.address)
	}
	if ls == nil {
		return nil
	}
	s.listener = ls
	if old.Backlog == ls.Backlog && old.KeepAlive == ls.KeepAlive && old.UserTimeout == ls.UserTimeout {
		return nil
	}
	if s.binding.shared {
		// Not to listen again: on a socket that was taken away that would take the
		// address back.
		return setOptions(s.fd, ls)
	}
	return configure(s.fd, ls)
}
