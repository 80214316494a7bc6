package feed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// statusEvery is agreed with the control plane, which shows a node as
	// disconnected after three missing ones.
	statusEvery = 5 * time.Second
	// applyTimeout bounds one Apply, so that a hung one becomes a LOCAL NACK
	// instead of a node that answers nothing.
	applyTimeout = 30 * time.Second
	// stableAfter is how long a stream must live for the next failure to begin
	// again at the shortest backoff.
	stableAfter = 5 * time.Second
)

// Config says who the node is and what it does with a table. NodeID,
// ControlPlanes and Apply are required.
type Config struct {
	NodeID string
	Labels map[string]string
	Build  string // for people
	// ControlPlanes are "host:port" or "unix:/path"; one is used at a time.
	ControlPlanes []string
	// Insecure allows plaintext to control planes that are not on loopback.
	Insecure bool

	// Apply puts a table into force: it binds what the table needs and swaps.
	// An error leaves the old table in force; the feed tries again by itself. It
	// is called by one goroutine at a time.
	Apply func(ctx context.Context, next *table.Table) error
	// Boot is the last known good configuration: it is put into force before any
	// control plane is asked. nil: there is none.
	Boot *table.Configuration
	// Applied is told what came into force, in order; it must not block. nil:
	// nobody.
	Applied func(table.Configuration)
	// Live is the pointer that Apply swaps; attestation reads it. If nil, what
	// was last applied is attested.
	Live *table.Live
	// Permit rations the processor between loops and compiling; nil: no limit.
	Permit compile.Permit
	// Numbers are sent with Status; nil: zeros.
	Numbers func() Numbers
	// Witness: the node grants virtual IPs and never holds one.
	Witness bool
	// Decision is what people decided about the node, as far as it knows; nil: nothing.
	Decision func() member.Decision
	// VIPs is how virtual IPs stand, for Status; nil: there is nothing to say.
	VIPs func() VIPs
	// Changed gives a token when a Status should be sent at once; nil: never.
	Changed <-chan struct{}
	// FleetState is called with each new one, in order; it must not block. nil:
	// only kept for Feed.FleetState.
	FleetState func(*fleetv1.FleetState)

	Logger *slog.Logger // nil: slog.Default()
	// DialOptions are added to the feed's own.
	DialOptions []grpc.DialOption
}

// Numbers are a node's counters at one moment.
type Numbers struct {
	Requests    uint64 // finished
	Connections uint64 // open
	Errors      uint64
	// Drained: the node was drained before Connections were counted, so they can only
	// become fewer.
	Drained bool
}

// VIPs are what a node says of virtual IPs.
type VIPs struct {
	// Kept is the list of expected members that the node has on its disk.
	Kept member.List
	// GrantsBy is the revision of the list that it grants by from now on; of one that
	// grants nothing, of the last that it was told.
	GrantsBy uint64
	// GrantsNothing: the node takes no part, and no list is on its disk.
	GrantsNothing bool
	Statuses      []*fleetv1.VipStatus
}

// State is how the feed stands, for the admin endpoint.
type State struct {
	Connected    bool
	ControlPlane string // connected to, or last tried
	Since        time.Time
	LastError    string       // why the last stream ended or could not be opened
	Wanted       tree.Version // the last version that arrived
	Running      tree.Version // what is in force
	Attested     tree.Hash
	Problems     []resource.Problem // why Wanted is not Running
	Retrying     bool               // it will be tried again here
	AppliedAt    time.Time          // when Running came into force
	BootID       string
}

// Feed is a node's end of the Sync stream.
type Feed struct {
	// immutable
	c       Config
	log     *slog.Logger
	bootID  string
	started time.Time
	counts  counters
	connect func(ctx context.Context, address string) (link, error)
	applier *applier

	// guarded by mu
	mu    sync.Mutex
	state State
	built tree.Hash // of the table that was last applied
	// applying is what Apply is working on, which may be live already.
	applying tree.Version
	fleet    *fleetv1.FleetState
}

// New checks c. It starts nothing.
func New(c Config) (*Feed, error) {
	switch {
	case c.NodeID == "":
		return nil, errors.New("feed: no node id")
	case len(c.ControlPlanes) == 0:
		return nil, errors.New("feed: no control plane")
	case c.Apply == nil:
		return nil, errors.New("feed: no Apply")
	}
	for _, address := range c.ControlPlanes {
		if err := CheckAddress(address, c.Insecure); err != nil {
			return nil, fmt.Errorf("control plane %w", err)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.VIPs == nil {
		c.VIPs = func() VIPs { return VIPs{} }
	}
	if c.Decision == nil {
		c.Decision = func() member.Decision { return member.Decision{} }
	}
	if c.Numbers == nil {
		c.Numbers = func() Numbers { return Numbers{} }
	}
	var boot [16]byte
	if _, err := rand.Read(boot[:]); err != nil {
		return nil, fmt.Errorf("feed: boot id: %w", err)
	}
	f := &Feed{c: c, log: c.Logger, bootID: hex.EncodeToString(boot[:]), started: time.Now()}
	f.state.BootID = f.bootID
	f.connect = f.dial
	f.applier = newApplier(f)
	return f, nil
}

// Run keeps the node on what the control plane wants until ctx ends. What is in
// force stays in force when it returns.
func (f *Feed) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer wait.Wait()
	defer cancel()
	wait.Go(func() { f.applier.run(ctx) })

	pause := reconnectBackoff()
	// Nodes begin at different control planes, so that these share the fleet.
	next := startIndex(f.c.NodeID, len(f.c.ControlPlanes))
	for ctx.Err() == nil {
		address := f.c.ControlPlanes[next%len(f.c.ControlPlanes)]
		next++
		begin := time.Now()
		err := f.once(ctx, address)
		if ctx.Err() != nil {
			break
		}
		if time.Since(begin) >= stableAfter {
			pause.reset()
		}
		delay := pause.next()
		f.disconnected(address, err)
		f.log.Warn("control plane: stream ended", "address", address, "error", err, "retry_in", delay)
		if !wakeup.After(ctx, delay) {
			break
		}
	}
	return nil
}

// once runs one stream to its end.
func (f *Feed) once(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.mu.Lock()
	f.state.ControlPlane = address
	f.mu.Unlock()
	f.counts.dials.Add(1)
	stream, err := f.connect(ctx, address)
	if err != nil {
		return err
	}
	defer stream.Close()
	return f.serve(ctx, stream, address)
}

// State is a copy of how the feed stands.
func (f *Feed) State() State {
	f.mu.Lock()
	s := f.state
	f.mu.Unlock()
	s.Running, s.Attested = f.standing()
	return s
}

// FleetState is the last one received, or nil. It must not be changed.
func (f *Feed) FleetState() *fleetv1.FleetState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fleet
}

// standing is what runs here and the root that the live table was really built
// from, as of one moment.
func (f *Feed) standing() (running tree.Version, attested tree.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.c.Live == nil {
		return f.state.Running, f.built
	}
	t := f.c.Live.Load()
	if t == nil {
		return f.state.Running, tree.Hash{}
	}
	running = f.state.Running
	if a := f.applying; !a.IsZero() && t.Version == (table.Version{Epoch: a.Epoch, Revision: a.Revision}) {
		// Swapped already; Apply is about to return.
		running = a
	}
	return running, t.Root
}

func (f *Feed) connected() {
	f.counts.streams.Add(1)
	f.mu.Lock()
	f.state.Connected, f.state.Since, f.state.LastError = true, time.Now(), ""
	f.mu.Unlock()
}

func (f *Feed) disconnected(address string, err error) {
	f.mu.Lock()
	if f.state.Connected || f.state.Since.IsZero() {
		f.state.Since = time.Now()
	}
	f.state.Connected, f.state.ControlPlane = false, address
	if err != nil {
		f.state.LastError = err.Error()
	}
	f.mu.Unlock()
}

// note changes the state that is shown.
func (f *Feed) note(change func(*State)) {
	f.mu.Lock()
	change(&f.state)
	f.mu.Unlock()
}
