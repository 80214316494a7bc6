//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// busyEngine shares when it is told to, at all addresses but one.
type busyEngine struct {
	ready  chan struct{}
	never  netip.AddrPort
	mu     sync.Mutex
	shared map[netip.AddrPort]bool
}

func (e *busyEngine) Share(_ context.Context, sockets map[netip.AddrPort]int) (failed map[netip.AddrPort]error) {
	<-e.ready
	e.mu.Lock()
	defer e.mu.Unlock()
	for address := range sockets {
		if address == e.never {
			failed = map[netip.AddrPort]error{address: errors.New("it cannot be had")}
		} else {
			e.shared[address] = true
		}
	}
	return failed
}

func (e *busyEngine) Unshare(_ context.Context, addresses ...netip.AddrPort) error {
	<-e.ready
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, address := range addresses {
		delete(e.shared, address)
	}
	return nil
}

func (e *busyEngine) number() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.shared)
}

// TestAnEngineThatIsBusyKeepsNoLeaseFromBeingRead has an agent pass on thousands of sockets
// while the engine is busy with something else: what is said after them lets them listen on.
func TestAnEngineThatIsBusyKeepsNoLeaseFromBeingRead(t *testing.T) {
	const sockets, until = 5000, 1 << 40
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 3*sockets {
		t.Skip("it needs more descriptors: ", limit.Cur, err)
	}
	c, file, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	peer, err := openConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := openListening(netipLoopback, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(socket)
	e := &busyEngine{ready: make(chan struct{}), shared: map[netip.AddrPort]bool{}}
	l := newLife(New(Config{Logger: slog.New(slog.DiscardHandler), Engine: e}), c)
	var wait sync.WaitGroup
	wait.Go(l.work)
	wait.Go(func() {
		defer close(l.owing)
		_ = l.hear()
	})
	for i := range sockets {
		m := &fleetv1.AgentSocket{Number: uint64(1 + i), Address: fmt.Sprintf("127.1.%d.%d:80", i/256, i%256)} //nolint:gosec // not negative
		if err := peer.send(&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Socket{Socket: m}}, socket); err != nil {
			t.Fatal(err)
		}
	}
	leases := &fleetv1.AgentLeases{Leases: []*fleetv1.AgentLease{{Address: "127.1.0.7", Until: until}}}
	if err := peer.send(&fleetv1.FromAgent{Message: &fleetv1.FromAgent_Leases{Leases: leases}}, noFD); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lease", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		c := l.copies[8]
		return c != nil && c.until == until
	})
	if n := e.number(); n != 0 {
		t.Errorf("%d are shared", n)
	}
	close(e.ready)
	eventually(t, "all are shared", func() bool { return e.number() == sockets })
	peer.close()
	wait.Wait()
	if n := e.number(); n != 0 || len(l.copies) != 0 {
		t.Errorf("%d are shared in the end, of %d there is a copy", n, len(l.copies))
	}
}

func TestWhatTheEngineDoesNotShareIsEndedAlone(t *testing.T) {
	c, file, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	e := &busyEngine{ready: make(chan struct{}), shared: map[netip.AddrPort]bool{}, never: netip.MustParseAddrPort("127.0.0.2:80")}
	close(e.ready)
	l := newLife(New(Config{Logger: slog.New(slog.DiscardHandler), Engine: e}), c)
	var sockets []int
	for i, address := range []string{"127.0.0.1:80", "127.0.0.2:80", "127.0.0.3:80"} {
		fd, err := openListening(netipLoopback, 1)
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, fd)
		if err := l.take(&fleetv1.AgentSocket{Number: uint64(1 + i), Address: address}, fd); err != nil {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	wait.Go(l.work)
	eventually(t, "the others are shared, and that one ended", func() bool { return e.number() == 2 && !listens(sockets[1]) })
	if !listens(sockets[0]) || !listens(sockets[2]) {
		t.Error("others are ended")
	}
	if err := l.conn.send(&fleetv1.ToAgent{}, noFD); err != nil {
		t.Error("the agent is ended:", err)
	}
	l.dropAll()
	close(l.owing)
	wait.Wait()
}

// withoutDescriptors runs f in a process that has as many as it may.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 3 // all that are open stay so
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// TestANodeThatIsOutOfDescriptorsKeepsItsAgent is for one that is full of clients when the
// virtual IPs of another come to it: what it holds already it goes on serving.
func TestANodeThatIsOutOfDescriptorsKeepsItsAgent(t *testing.T) {
	p := newPlace(t)
	n := p.node(t, "1", "1")
	p.holder(t)
	v := p.vips()
	v = append(v, &fleetv1.AgentVip{Name: "y", Address: p.net + ".101", Ports: v[0].GetPorts()})
	n.e.mu.Lock()
	shared := len(n.e.shared)
	n.e.mu.Unlock()
	withoutDescriptors(t, func() {
		n.s.SetVIPs(v)
		eventually(t, "both are held, as far as the agent knows", func() bool {
			held := 0
			for _, s := range n.s.Statuses() {
				if s.GetState() == fleetv1.VipStatus_HOLDING {
					held++
				}
			}
			return held == 2
		})
		time.Sleep(4 * time.Duration(lookEvery)) // it is tried again meanwhile
	})
	if s := n.s.State(); s.Restarts != 0 || shared != 1 {
		t.Fatalf("%d agents ended (%s); %d sockets were shared", s.Restarts, s.Problem, shared)
	}
	eventually(t, "the other one, too", func() bool {
		n.e.mu.Lock()
		defer n.e.mu.Unlock()
		return len(n.e.shared) == 2
	})
	if id := p.ask(); id != "1" {
		t.Errorf("the first is answered by %q", id)
	}
}
