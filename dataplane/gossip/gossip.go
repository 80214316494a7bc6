package gossip

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

var (
	// ErrUnknown is a member that was never heard of.
	ErrUnknown = errors.New("gossip: unknown member")
	// ErrNotRunning is what Send says before Run and after it.
	ErrNotRunning = errors.New("gossip: not running")
)

const (
	// maxMessage is what fits into a datagram of memberlist's with what it adds.
	maxMessage = 1300
	// updatePause is between two changes of what the node says of itself.
	updatePause = 20 * time.Millisecond
	// updateTimeout bounds the wait until a change was told to anybody.
	updateTimeout = 500 * time.Millisecond
)

// Gossip is a node's place among the members.
type Gossip struct {
	// immutable
	c       Config
	log     *slog.Logger
	address netip.AddrPort // to listen on
	labels  []member.Label
	ready   chan struct{}
	views   chan member.View
	changed wakeup.Signal // self changed

	// guarded by mu. memberlist calls the delegate with locks of its own held:
	// nothing of it is called with mu held.
	mu    sync.Mutex
	ran   bool
	list  *memberlist.Memberlist // while it runs
	local netip.AddrPort
	self  Self
	view  member.View
	known map[string]place
	// complained is when something that is wrong with a member was told last.
	complained map[string]time.Time
}

// New checks c. It starts nothing.
func New(c Config) (*Gossip, error) {
	if c.NodeID == "" || len(c.NodeID) > maxString {
		return nil, fmt.Errorf("gossip: node id of %d bytes: expected 1 to %d", len(c.NodeID), maxString)
	}
	address, err := parseAddress(c.Address)
	if err != nil {
		return nil, err
	}
	if c.Keys.IsZero() && !c.Insecure && !address.Addr().IsLoopback() {
		return nil, fmt.Errorf("%w: address %q", ErrNoKey, c.Address)
	}
	if c.Advertise != "" && net.ParseIP(c.Advertise) == nil {
		return nil, fmt.Errorf("gossip: advertised address %q is no ip", c.Advertise)
	}
	if l := label(c.Fleet); len(l) > memberlist.LabelMaxSize {
		return nil, fmt.Errorf("gossip: fleet name of %d bytes is too long", len(c.Fleet))
	}
	labels := member.Labels(c.Labels)
	if size, ok := labelsFit(labels); !ok {
		return nil, fmt.Errorf("gossip: labels take %d bytes, at most %d travel", size, maxLabels)
	}
	if c.Boot == 0 {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("gossip: boot id: %w", err)
		}
		c.Boot = binary.BigEndian.Uint64(b[:]) | 1
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.here == nil {
		c.here = net.InterfaceAddrs
	}
	if c.Receive == nil {
		c.Receive = func([]byte) {}
	}
	c.Timing = c.Timing.withDefaults()
	g := &Gossip{
		c: c, log: c.Logger, address: address, labels: labels, self: c.Self,
		ready: make(chan struct{}), views: make(chan member.View, 1), changed: wakeup.NewSignal(),
		known: map[string]place{}, complained: map[string]time.Time{},
	}
	for _, peer := range c.Join {
		if err := g.checkPeer(peer); err != nil {
			return nil, err
		}
	}
	g.publish()
	return g, nil
}

// Boot is the boot id of this process.
func (g *Gossip) Boot() uint64 { return g.c.Boot }

// Ready is closed when Run listens.
func (g *Gossip) Ready() <-chan struct{} { return g.ready }

// LocalAddress is what the node advertises, once it is Ready.
func (g *Gossip) LocalAddress() netip.AddrPort {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.local
}

// View is the latest, in which this node always is, as SetSelf said last.
func (g *Gossip) View() member.View {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.view
}

// Views gives each new View, but only the latest to whoever is late. It is for one
// reader, and is never closed.
func (g *Gossip) Views() <-chan member.View { return g.views }

// SetSelf changes what the node says of itself. It returns at once; the others
// hear it after Timing.Gossip or so, only the last of many changes.
func (g *Gossip) SetSelf(s Self) {
	s.Holdings = slices.Clone(s.Holdings)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.self = s
	g.publish()
	g.changed.Send()
}

// Send sends one message to a member, at best effort: it may be lost, repeated
// or overtaken, and nobody says so. A member that gossip has declared dead is
// sent to all the same, where it was last: gossip may be wrong.
func (g *Gossip) Send(to string, message []byte) error {
	if len(message) > maxMessage {
		return fmt.Errorf("gossip: message of %d bytes, at most %d can be sent", len(message), maxMessage)
	}
	g.mu.Lock()
	list, at := g.list, g.known[to]
	g.mu.Unlock()
	switch {
	case list == nil:
		return ErrNotRunning
	case at.address == "":
		return fmt.Errorf("%w %q", ErrUnknown, to)
	}
	if err := list.SendToAddress(memberlist.Address{Addr: at.address, Name: to}, message); err != nil {
		return fmt.Errorf("gossip: send to %q: %w", to, err)
	}
	return nil
}

// Run takes part until ctx ends, or until the node should advertise another address (ErrMoved),
// then leaves; Send works until it has. It can be called once.
func (g *Gossip) Run(ctx context.Context) error {
	g.mu.Lock()
	again := g.ran
	g.ran = true
	g.mu.Unlock()
	if again {
		return errors.New("gossip: it has run already")
	}
	end, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	list, err := g.start(end)
	if err != nil {
		return err
	}
	close(g.ready)

	var wait sync.WaitGroup
	running, stop := context.WithCancel(ctx)
	defer stop()
	moved := make(chan error, 1)
	wait.Go(func() { g.tell(running, list) })
	wait.Go(func() { moved <- g.find(running, list) })
	var why error
	select {
	case <-ctx.Done(): // find may be in the middle of something
	case why = <-moved:
	}
	stop()
	if err := list.Leave(g.c.Timing.Leave); err != nil {
		g.log.Debug("gossip: leaving was not heard by anybody", "error", err)
	}
	cancel() // dials end
	g.mu.Lock()
	g.list = nil
	g.mu.Unlock()
	// First the sockets, which the next process of this node waits for: tell may
	// be in the middle of something that cannot be cut short.
	err = list.Shutdown()
	wait.Wait()
	if err != nil {
		return fmt.Errorf("gossip: shut down: %w", err)
	}
	return why
}

// start opens the sockets and has memberlist run.
func (g *Gossip) start(end context.Context) (*memberlist.Memberlist, error) {
	t, err := g.listen(end)
	if err != nil {
		return nil, err
	}
	ip, _ := netip.AddrFromSlice(t.ip)
	g.mu.Lock()
	g.local = netip.AddrPortFrom(ip.Unmap(), uint16(t.port)) //nolint:gosec // a port
	g.publish()
	g.mu.Unlock()
	list, err := memberlist.Create(g.memberlistConfig(t))
	if err != nil {
		_ = t.Shutdown()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.mu.Lock()
	g.list = list
	g.mu.Unlock()
	g.log.Info("gossip: listening", "address", g.LocalAddress(), "fleet", label(g.c.Fleet), "sealed", !g.c.Keys.IsZero())
	return list, nil
}

// tell passes on what SetSelf says.
func (g *Gossip) tell(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.changed:
		}
		if err := list.UpdateNode(updateTimeout); err != nil {
			// memberlist drops a change without a word if it refutes what another says
			// of this node at the same moment. Then nobody would hear it before the next
			// exchange of all that is known.
			g.log.Debug("gossip: a change was not heard by anybody yet", "error", err)
			g.changed.Send()
		}
		if !wakeup.After(ctx, updatePause) {
			return
		}
	}
}

// publish makes a View of what is known and offers it, instead of one that was
// not taken yet. mu is held.
func (g *Gossip) publish() {
	next := g.view.With(g.member())
	if next.Equal(g.view) {
		return
	}
	g.offer(next)
}

// offer makes next the View. mu is held, which makes the order of Views one.
func (g *Gossip) offer(next member.View) {
	g.view = next
	select {
	case <-g.views:
	default:
	}
	g.views <- next // there is room: nobody else puts anything in
}

// member is this node. mu is held.
func (g *Gossip) member() member.Member {
	return member.Member{
		ID: g.c.NodeID, Boot: g.c.Boot, Address: g.local, Flags: g.self.Flags,
		ListRevision: g.self.ListRevision, Labels: g.labels, Holdings: g.self.Holdings,
	}
}
