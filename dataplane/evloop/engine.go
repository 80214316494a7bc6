//go:build linux

package evloop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
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
	crew     *crew // shakes hands for all loops

	live     table.Live                // the table in force: loops look at it with each new exchange
	pressure atomic.Uint32             // a pressure.Level
	probing  atomic.Pointer[probeMark] // the self-probe that waits for an answer; nil: none
	ringless sync.Once                 // says why a loop has no ring: mostly none has

	changing  chan struct{} // holds a token during Apply and SetDrained, or while these are suspended; put in before mu is locked
	mu        sync.Mutex    // one Apply at a time
	addresses               // guarded by mu
	ceilings  ceilings      // guarded by mu, but for what loops read
	stopped   chan struct{} // closed when Run has ended
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
		config:   c,
		log:      c.Logger,
		base:     base,
		stats:    c.Stats,
		registry: upstream.NewRegistry(c.Loops),
		tickets:  tickets,
		changing: make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		crew:     newCrew(c.Logger, func() int64 { return int64(time.Since(base)) }, c.Permit),
	}
	e.ceilings.begin(c.MaxClients, c.Loops)
	e.addresses = newAddresses(&e.config)
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
	e.crew.start()
	defer e.crew.end()
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
	if err := e.settle(ctx); err != nil {
		return err
	}
	wanted := e.wanted(t)
	var opened []*binding
	again, err := e.reopen(wanted)
	for address, ls := range wanted {
		if err != nil {
			break
		}
		if e.bindings[address] == nil {
			b := &binding{address: address, clientele: e.clienteleOf(ls.Name)}
			if err = e.open(b, ls); err == nil {
				opened = append(opened, b)
			}
		}
	}
	var retired upstream.Retired
	if err == nil {
		retired, err = e.registry.Bind(t)
	}
	if err != nil {
		e.abandon(opened, again)
		return err
	}
	bindSeries(e.stats, t)
	warm := keptWarm(e.live.Load(), t)
	wider := widened(e.live.Load(), t)
	limited := limitsChange(e.live.Load(), t)
	e.live.Store(t)
	e.leaveToSockets(t)
	rebound := e.rebind(wanted)
	remove := e.replace(t, wanted, opened)
	if len(opened)+len(again)+len(remove)+len(warm)+len(wider)+len(rebound) == 0 && retired.Empty() && !limited {
		e.unsettled = false
		return nil
	}
	changes := make([]change, len(e.loops))
	dealSockets(changes, opened, again)
	for i := range changes {
		changes[i].rebound, changes[i].remove, changes[i].retired, changes[i].warm = rebound, remove, retired, warm
		changes[i].widened = wider
	}
	if err := e.deliver(ctx, changes); err != nil {
		return err
	}
	e.unsettled = false
	return nil
}

// dealSockets gives each loop its part of the sockets that were opened.
func dealSockets(changes []change, opened []*binding, again []reopened) {
	for _, b := range opened {
		for i, s := range b.sockets {
			c := &changes[i%len(changes)]
			c.open = append(c.open, s)
		}
	}
	for _, r := range again {
		r.of.sockets[r.number] = r.socket
		c := &changes[r.number%len(changes)]
		c.open = append(c.open, r.socket)
	}
}

// settle waits, where a loop did not take a change in time, until all have taken what they were
// told.
func (e *Engine) settle(ctx context.Context) error {
	if !e.unsettled {
		return nil
	}
	return e.deliver(ctx, make([]change, len(e.loops)))
}

// deliver hands each loop its part of a change and waits until all have it. Where it fails loops
// may take it later: the next table waits for that, and opens what they could not take up.
func (e *Engine) deliver(ctx context.Context, changes []change) error {
	err := e.tell(ctx, changes)
	e.unsettled = e.unsettled || err != nil
	return err
}

// tell is deliver, but for what is noted of a failure.
func (e *Engine) tell(ctx context.Context, changes []change) error {
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
