//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// What this test binary is when it is started as another process.
const roleVariable = "PROXYFLEET_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "agent":
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		if err := run(context.Background(), os.Stderr, openAndEnd()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "main":
		mainProcess()
	default:
		os.Exit(m.Run())
	}
}

// engine answers connections to shared sockets with a word and closes them.
type engine struct {
	word   string
	mu     sync.Mutex
	shared map[netip.AddrPort]net.Listener
}

func newEngine(word string) *engine {
	return &engine{word: word, shared: map[netip.AddrPort]net.Listener{}}
}

func (e *engine) Share(_ context.Context, sockets map[netip.AddrPort]int) (failed map[netip.AddrPort]error) {
	failed = map[netip.AddrPort]error{}
	for address, fd := range sockets {
		if err := e.share(address, fd); err != nil {
			failed[address] = err
		}
	}
	return failed
}

func (e *engine) share(address netip.AddrPort, fd int) error {
	own, err := copyFD(fd)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(own), "shared")
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if before := e.shared[address]; before != nil {
		before.Close()
	}
	e.shared[address] = l
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, unix.EMFILE) { // also where no client waits
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				return
			}
			go func() {
				_, _ = io.WriteString(c, e.word)
				c.Close()
			}()
		}
	}()
	return nil
}

func (e *engine) Unshare(_ context.Context, addresses ...netip.AddrPort) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, address := range addresses {
		if l := e.shared[address]; l != nil {
			l.Close()
			delete(e.shared, address)
		}
	}
	return nil
}

// where a fleet's test lives: a network of loopback addresses of its own.
type place struct {
	net  string
	port uint16
}

func newPlace(t *testing.T) place {
	t.Helper()
	for range 100 {
		p := place{fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), rand.IntN(256)), uint16(20000 + rand.IntN(10000))}
		l, err := net.Listen("tcp", p.gossip("1"))
		if err == nil {
			l.Close()
			return p
		}
	}
	t.Fatal("no free loopback network")
	return place{}
}

func (p place) gossip(id string) string { return fmt.Sprintf("%s.1%s:7946", p.net, id) }
func (p place) vip() string             { return p.net + ".100" }
func (p place) address() string         { return fmt.Sprintf("%s:%d", p.vip(), p.port) }

func (p place) start(id string) *fleetv1.AgentStart {
	s := &fleetv1.AgentStart{NodeId: id, GossipAddress: p.gossip(id), LogLevel: int32(slog.LevelDebug)}
	for _, other := range []string{"1", "2", "3"} {
		if other != id {
			s.GossipJoin = append(s.GossipJoin, p.gossip(other))
		}
	}
	return s
}

func (p place) vips() []*fleetv1.AgentVip {
	return []*fleetv1.AgentVip{{Name: "x", Address: p.vip(), Ports: []*fleetv1.AgentPort{{Port: uint32(p.port), Backlog: 128}}}}
}

// node is a node whose main process is the test's own.
type node struct {
	t      *testing.T
	id     string
	s      *Supervisor
	e      *engine
	stuck  atomic.Bool // its loops do not turn
	unwell atomic.Bool
	stop   func()
}

func (p place) node(t *testing.T, id string, list ...string) *node {
	t.Helper()
	n := &node{t: t, id: id, e: newEngine(id)}
	n.s = New(Config{
		Start: p.start(id), Engine: n.e, Command: agentProcess(t.Output()),
		Pulse:  func() (bool, bool) { return !n.stuck.Load(), !n.unwell.Load() },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)).With("node", id),
	})
	n.s.SetList(1, list)
	n.s.SetVIPs(p.vips())
	n.stop = lifecycletest.Run(t, n.s.Run)
	return n
}

func agentProcess(messages io.Writer) func() *exec.Cmd {
	return func() *exec.Cmd {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), roleVariable+"=agent")
		c.Stderr = messages
		return c
	}
}

func (n *node) holds() bool {
	for _, v := range n.s.Statuses() {
		if v.GetHolds() {
			return true
		}
	}
	return false
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	waittest.Until(t, what, is)
}

// ask connects to the virtual IP and returns who answers; "": nobody.
func (p place) ask() string {
	c, err := net.DialTimeout("tcp", p.address(), 200*time.Millisecond)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	word, _ := io.ReadAll(c)
	return string(word)
}

// holder waits until somebody answers and returns who.
func (p place) holder(t *testing.T) (id string) {
	t.Helper()
	eventually(t, "an answer of the virtual IP", func() bool { id = p.ask(); return id != "" })
	return id
}

func (p place) fleet(t *testing.T) map[string]*node {
	nodes := map[string]*node{}
	for _, id := range []string{"1", "2", "3"} {
		nodes[id] = p.node(t, id, "1", "2", "3")
	}
	t.Cleanup(func() { // together: who is the last to leave waits for nobody else's
		var all sync.WaitGroup
		for _, n := range nodes {
			all.Go(n.stop)
		}
		all.Wait()
	})
	p.complete(t, nodes)
	return nodes
}

// complete waits until all see each other and one holds.
func (p place) complete(t *testing.T, nodes map[string]*node) {
	t.Helper()
	eventually(t, "all see each other, and one holds", func() bool {
		held := 0
		for _, n := range nodes {
			r := n.s.State().Report
			if len(r.GetMembers()) != len(nodes) {
				return false
			}
			if n.holds() {
				held++
			}
		}
		return held == 1 && p.ask() != ""
	})
}

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := syscall.Kill(n.s.State().PID, s); err != nil {
		n.t.Error(err)
	}
}

// moved waits until another than that answers, and says how long it took.
func (p place) moved(t *testing.T, from string) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, "another holder", func() bool { id := p.ask(); return id != "" && id != from })
	return time.Since(began)
}

func TestAFleetHasOneHolderAndAResignedOneHandsOver(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	nodes[first].s.Resign(context.Background())
	if nodes[first].holds() {
		t.Error("a node that resigned holds")
	}
	took := p.moved(t, first)
	t.Logf("answered %s after Resign returned", took)
	second := p.holder(t)
	nodes[first].s.Resume()
	nodes[second].stop()
	p.moved(t, second)
}

func TestAKilledAgentIsReplacedAndSomebodyHolds(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	nodes[first].signal(syscall.SIGKILL)
	began := time.Now()
	eventually(t, "the socket's end", func() bool { return p.ask() == "" })
	id := p.holder(t)
	t.Logf("%s answers after %s, it was %s", id, time.Since(began), first)
	eventually(t, "another agent", func() bool {
		s := nodes[first].s.State()
		return s.Restarts == 1 && len(s.Report.GetMembers()) == 3
	})
}

func TestAStoppedAgentsSocketEndsAndItDoesNotHoldWhenItGoesOn(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	nodes[first].signal(syscall.SIGSTOP)
	t.Logf("another holder after %s", p.moved(t, first))
	if cut := nodes[first].s.State().Cut; cut != 1 {
		t.Errorf("%d sockets were ended", cut)
	}
	if v := nodes[first].s.Statuses()[0]; v.GetHolds() || !strings.Contains(v.GetNotEligible(), "silent") {
		t.Errorf("while another holds its status is %v", v)
	}
	second := p.holder(t)
	nodes[first].signal(syscall.SIGCONT)
	eventually(t, "the agent's word that it holds nothing", func() bool { return !nodes[first].holds() })
	if id := p.holder(t); id != second {
		t.Errorf("%s answers, it was %s", id, second)
	}
	if n := nodes[first].s.State().Restarts; n != 0 {
		t.Errorf("restarted %d times", n)
	}
}

func TestAMainProcessWhoseLoopsHangLosesTheVIP(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	nodes[first].stuck.Store(true)
	t.Logf("another holder after %s", p.moved(t, first))
	nodes[first].stuck.Store(false)
	eventually(t, "it is a candidate again", func() bool {
		v := nodes[first].s.Statuses()
		return len(v) == 1 && v[0].GetState() == fleetv1.VipStatus_WAITING
	})
}

func TestAnUnhealthyHolderKeepsUntilAnotherIsReady(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	healthy := func() (ids []string) {
		for _, m := range nodes[first].s.State().Report.GetMembers() {
			if strings.Contains(m.GetFlags(), "healthy") {
				ids = append(ids, m.GetNodeId())
			}
		}
		return ids
	}
	for id, n := range nodes {
		n.unwell.Store(id != first)
	}
	eventually(t, "the others say that they are unhealthy", func() bool { return slices.Equal(healthy(), []string{first}) })
	nodes[first].unwell.Store(true)
	eventually(t, "the holder says so, too", func() bool { return len(healthy()) == 0 })
	if id := p.holder(t); id != first {
		t.Errorf("nobody is healthy, and it moved from %s to %s", first, id)
	}
	for id, n := range nodes {
		n.unwell.Store(id == first)
	}
	p.moved(t, first)
}

func TestAnAddressThatSomebodyElseHasIsToldAndTakenWhenItIsFree(t *testing.T) {
	p := newPlace(t)
	taken, err := net.Listen("tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	n := p.node(t, "1", "1")
	eventually(t, "the conflict", func() bool {
		v := n.s.Statuses()
		return len(v) == 1 && v[0].GetState() == fleetv1.VipStatus_HOLDING && !v[0].GetHolds() && v[0].GetConflict() != ""
	})
	taken.Close()
	if id := p.holder(t); id != "1" {
		t.Errorf("%q answers", id)
	}
}

func TestANodeThatCannotHaveTheAddressLeavesItToOthers(t *testing.T) {
	p := newPlace(t)
	nodes := p.fleet(t)
	first := p.holder(t)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(p.vip()), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	v := p.vips()
	port := uint32(taken.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	v[0].Ports = append(v[0].Ports, &fleetv1.AgentPort{Port: port, Backlog: 1})
	nodes[first].s.SetVIPs(v)
	p.moved(t, first)
	eventually(t, "the reason", func() bool {
		return strings.Contains(nodes[first].s.Statuses()[0].GetNotEligible(), "cannot have the address")
	})
}

// TestAVirtualIPOfWhichNoNodeCanHaveAllIsHeldAsFarAsItCan: a fleet of one stands for one in
// which another program has a port everywhere. It would leave the virtual IP every two
// seconds.
func TestAVirtualIPOfWhichNoNodeCanHaveAllIsHeldAsFarAsItCan(t *testing.T) {
	p := newPlace(t)
	taken, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(p.vip()), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	n := p.node(t, "1", "1")
	v := p.vips()
	port := uint32(taken.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
	v[0].Ports = append(v[0].Ports, &fleetv1.AgentPort{Port: port, Backlog: 1})
	n.s.SetVIPs(v)
	status := func() *fleetv1.VipStatus {
		if v := n.s.Statuses(); len(v) == 1 {
			return v[0]
		}
		return nil
	}
	eventually(t, "others may try", func() bool { return strings.Contains(status().GetNotEligible(), "cannot have the address") })
	holdsSome := func() bool {
		s := status()
		return s.GetHolds() && s.GetConflict() == "another process at "+taken.Addr().String() && p.ask() == "1"
	}
	eventually(t, "what can be had is served, and the rest told", holdsSome)
	term := status().GetTerm()
	for begun := time.Now(); time.Since(begun) < bindFor+time.Second/2; {
		p.ask()
	}
	eventually(t, "it goes on", holdsSome)
	if now := status().GetTerm(); now != term {
		t.Errorf("it was left in between: term %d, then %d", term, now)
	}
	taken.Close()
	eventually(t, "all of it", func() bool { return status().GetHolds() && status().GetConflict() == "" })
}

// netipLoopback is any free port of loopback.
var netipLoopback = netip.MustParseAddrPort("127.0.0.1:0")

func TestAListenerThatEndedElsewhereIsSeen(t *testing.T) {
	fd, err := openListening(netipLoopback, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	other, err := copyFD(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	if !listens(fd) {
		t.Error("it does not listen")
	}
	endListening(other)
	if listens(fd) {
		t.Error("it listens still")
	}
}
