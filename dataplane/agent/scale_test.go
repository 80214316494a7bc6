//go:build linux

package agent

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

// noEngine takes no connections.
type noEngine struct{}

func (noEngine) Share(context.Context, map[netip.AddrPort]int) map[netip.AddrPort]error { return nil }

func (noEngine) Unshare(context.Context, ...netip.AddrPort) error { return nil }

// manyVIPs are as many virtual IPs, in the place's network of 127.x and the next ones.
func (p place) manyVIPs(number int) (vips []*fleetv1.AgentVip) {
	a := netip.MustParseAddr(p.net + ".128")
	for range number {
		vips = append(vips, &fleetv1.AgentVip{
			Name: "vip-" + a.String(), Address: a.String(), Ports: []*fleetv1.AgentPort{{Port: uint32(p.port), Backlog: 16}},
		})
		a = a.Next()
	}
	return vips
}

// manyNodes starts nodes 1, 2 and 3 of a fleet with many virtual IPs.
func (p place) manyNodes(t *testing.T, number int) (nodes []*Supervisor) {
	t.Helper()
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); wait.Wait() })
	for _, id := range []string{"1", "2", "3"} {
		start := p.start(id)
		start.LogLevel = int32(slog.LevelWarn)
		s := New(Config{
			Start: start, Engine: noEngine{}, Command: agentProcess(io.Discard),
			Pulse: func() (bool, bool) { return true, true }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", id),
		})
		s.SetList(1, []string{"1", "2", "3"})
		s.SetVIPs(p.manyVIPs(number))
		wait.Go(func() { _ = s.Run(ctx) })
		nodes = append(nodes, s)
	}
	return nodes
}

// heldBy is how many virtual IPs each node holds.
func heldBy(nodes []*Supervisor) (held []int, sum int) {
	for _, s := range nodes {
		n := 0
		for _, v := range s.Statuses() {
			if v.GetHolds() {
				n++
			}
		}
		held, sum = append(held, n), sum+n
	}
	return held, sum
}

// termsOf is the sum of the terms of what is held.
func termsOf(nodes []*Supervisor) (sum uint64) {
	for _, s := range nodes {
		for _, v := range s.Statuses() {
			if v.GetHolds() {
				sum += v.GetTerm()
			}
		}
	}
	return sum
}

// TestManyVirtualIPsMoveTogether has three nodes on one machine. When one goes the others
// hold what it held.
func TestManyVirtualIPsMoveTogether(t *testing.T) {
	const number = 200
	nodes := newPlace(t).manyNodes(t, number)
	begun := time.Now()
	eventually(t, "all are held", allHeld(number, nodes))
	t.Logf("all are held after %s", time.Since(begun))
	move(t, number, nodes)
}

// TestHoldingAsManyVirtualIPsAsThereCanBeCostsLittle also has them move.
func TestHoldingAsManyVirtualIPsAsThereCanBeCostsLittle(t *testing.T) {
	const number, look = vip.MaxVIPs, 3 * time.Second
	nodes := newPlace(t).manyNodes(t, number)
	begun := time.Now()
	eventually(t, "all are held", allHeld(number, nodes))
	t.Logf("all are held after %s", time.Since(begun))
	var before [3]time.Duration
	time.Sleep(time.Second) // what the election costs is not asked
	for i, s := range nodes {
		before[i] = processorTime(t, s.State().PID)
	}
	own := processorTime(t, os.Getpid())
	terms := termsOf(nodes)
	time.Sleep(look) // what they use in a while is what is asked
	own = processorTime(t, os.Getpid()) - own
	for i, s := range nodes {
		used := processorTime(t, s.State().PID) - before[i]
		t.Logf("agent %d used %s of %s, and lost %d messages", i+1, used, look, s.State().Report.GetInboxLost())
		if used > look/2 {
			t.Errorf("agent %d used %s of %s", i+1, used, look)
		}
	}
	t.Logf("the main processes used %s together", own)
	t.Logf("the sum of terms was %d, and is %d: it grows with each move", terms, termsOf(nodes))
	move(t, number, nodes)
}

// allHeld says that so many are held, by these nodes.
func allHeld(number int, nodes []*Supervisor) func() bool {
	return func() bool {
		_, sum := heldBy(nodes)
		return sum == number
	}
}

// move takes from nodes that hold all, one by its end and one by its own will.
func move(t *testing.T, number int, nodes []*Supervisor) {
	t.Helper()
	held, _ := heldBy(nodes)
	t.Logf("held: %v", held)
	if err := syscall.Kill(nodes[2].State().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	eventually(t, "an agent that was killed holds nothing", func() bool { return nodes[2].State().Restarts > 0 })
	eventually(t, "all are held again", allHeld(number, nodes))
	held, _ = heldBy(nodes)
	t.Logf("all are held %s after an agent was killed: %v", time.Since(begun), held)

	begun = time.Now()
	nodes[0].Resign(context.Background())
	held, _ = heldBy(nodes)
	t.Logf("%v are held after %s of resigning", held, time.Since(begun))
	if held[0] != 0 {
		t.Errorf("the node that resigned holds %d", held[0])
	}
	eventually(t, "all are held by the others", allHeld(number, nodes[1:]))
	t.Logf("all are held by the others after %s", time.Since(begun))
}

// A listener that names no address listens on all virtual IPs, so sockets may be many more
// than these. One of 9,000 ports stands for 900 of ten.
func TestAVirtualIPOfThousandsOfPortsIsHeld(t *testing.T) {
	const ports = 9000
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*ports+1000 {
		t.Skip("it needs more descriptors: ", limit.Cur, err)
	}
	p := newPlace(t)
	v := p.vips()
	v[0].Ports = nil
	for i := range ports {
		v[0].Ports = append(v[0].Ports, &fleetv1.AgentPort{Port: uint32(10000 + i), Backlog: 1}) //nolint:gosec // a port
	}
	e := &busyEngine{ready: make(chan struct{}), shared: map[netip.AddrPort]bool{}}
	close(e.ready)
	s := New(Config{
		Start: p.start("1"), Engine: e, Command: agentProcess(io.Discard),
		Pulse: func() (bool, bool) { return true, true }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	s.SetList(1, []string{"1"})
	s.SetVIPs(v)
	stop := lifecycletest.Run(t, s.Run)
	begun := time.Now()
	for shared := 0; shared < ports; shared = e.number() { // how long all take, a busy machine decides
		eventually(t, "more ports", func() bool { return e.number() > shared })
		if n := s.State().Restarts; n != 0 {
			t.Fatalf("%d agents ended meanwhile", n)
		}
	}
	t.Logf("all are shared after %s", time.Since(begun))
	stop()
	if n := e.number(); n != 0 {
		t.Errorf("%d are shared in the end", n)
	}
}
