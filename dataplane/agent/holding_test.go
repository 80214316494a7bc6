//go:build linux

package agent

import (
	"math"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// TestThePortsThatCanBeHadAreServedWhateverHasTheOthers gives a node two ports of three.
func TestThePortsThatCanBeHadAreServedWhateverHasTheOthers(t *testing.T) {
	now := int64(1)
	taken := []uint16{80}
	e := &env{
		clock: func() int64 { return now }, out: newOutbox(),
		open: func(a netip.AddrPort, _ int) (int, error) {
			if slices.Contains(taken, a.Port()) {
				return noFD, errInUse
			}
			return openListening(netipLoopback, 1)
		},
	}
	w := &fleetv1.AgentVip{Address: "127.0.0.1", Ports: []*fleetv1.AgentPort{{Port: 443}, {Port: 80}, {Port: 22}}}
	h := &holding{}
	defer h.end(e)
	after := func(passed int64) {
		now += passed
		e.left = openAtOnce
		h.serve(w, now, math.MaxInt64, e)
	}
	after(0)
	if len(h.sockets) != 2 || h.serves() || !h.inUse || h.lacks.Port() != 80 {
		t.Fatalf("%d sockets, lacks %s: %s", len(h.sockets), h.lacks, h.problem)
	}
	if after(int64(bindPause)); h.hopeless(now, false) {
		t.Error("it is left to others at once")
	}
	after(int64(bindFor))
	if !h.hopeless(now, false) {
		t.Error("it is not left to others, who may do better")
	}
	if h.hopeless(now, true) {
		t.Error("it is left to others again, who could not do better")
	}
	taken = nil
	if after(int64(bindLater)); !h.serves() || len(h.sockets) != 3 {
		t.Errorf("%d sockets when all can be had", len(h.sockets))
	}

	nothing := &holding{}
	taken = []uint16{22, 80, 443}
	nothing.serve(w, now, math.MaxInt64, e)
	now += int64(bindFor)
	nothing.serve(w, now, math.MaxInt64, e)
	if !nothing.hopeless(now, true) || nothing.servesSome() {
		t.Error("a node that can have none of it keeps it from the others")
	}
}

// opening has a holding of so many ports, of which none is in use, and says how many a
// turn opened.
func opening(t *testing.T, ports int) (e *env, h *holding, turn func(now int64) int) {
	t.Helper()
	w := &fleetv1.AgentVip{Address: "127.0.0.1"}
	for i := range ports {
		w.Ports = append(w.Ports, &fleetv1.AgentPort{Port: uint32(1 + i)})
	}
	e = &env{
		clock: func() int64 { return 0 }, out: newOutbox(),
		open: func(netip.AddrPort, int) (int, error) { return openListening(netipLoopback, 1) },
	}
	h = &holding{}
	t.Cleanup(func() { e.out.end(); h.end(e) })
	return e, h, func(now int64) int {
		e.left = openAtOnce
		before := len(h.sockets)
		h.serve(w, now, math.MaxInt64, e)
		return len(h.sockets) - before
	}
}

// A node that opened all sockets of many virtual IPs in one turn would not renew what it
// holds meanwhile.
func TestATurnOpensSoManySocketsAndTheNextOnesTheRest(t *testing.T) {
	const ports = 2*openAtOnce + 10
	_, h, turn := opening(t, ports)
	for i, want := range []int{openAtOnce, openAtOnce, 10, 0} {
		if h.due() > 0 && i < 3 {
			t.Fatalf("turn %d is at %d only", i, h.due())
		}
		if n := turn(0); n != want {
			t.Errorf("turn %d opens %d, expected %d", i, n, want)
		}
		if h.serves() != (i >= 2) {
			t.Errorf("after turn %d, %d of %d listen: serves %v", i, len(h.sockets), ports, h.serves())
		}
	}
}

// A main process that is slow to take them has its virtual IPs sooner or later.
func TestSocketsWaitForAMainProcessThatDoesNotTakeThem(t *testing.T) {
	e, h, turn := opening(t, maxUnderWay+10)
	now := int64(0)
	for range 2 * maxUnderWay / openAtOnce {
		turn(now)
		now += int64(bindPause)
	}
	if len(h.sockets) != maxUnderWay || h.serves() || h.failing != 0 {
		t.Fatalf("%d sockets, serves %v, %s", len(h.sockets), h.serves(), h.problem)
	}
	queue, _ := e.out.take()
	for i := range queue {
		e.out.done(&queue[i])
	}
	if n := turn(now); n != 10 || !h.serves() {
		t.Errorf("%d more when it takes them, serves %v", n, h.serves())
	}
}

// Where descriptors run short one socket more is too much, and not all of them.
func TestASocketThatCannotBePassedOnIsNotOpened(t *testing.T) {
	_, h, turn := opening(t, 1)
	var before, none unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	first, err := openListening(netipLoopback, 1) // the next takes the number after it
	if err != nil {
		t.Fatal(err)
	}
	closeFD(first)
	none = before
	none.Cur = uint64(first + 1) //nolint:gosec // a descriptor
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	n := turn(0)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if n != 0 || h.serves() || h.problem == "" {
		t.Errorf("%d sockets, problem %q", n, h.problem)
	}
	if n := turn(int64(benchFor)); n != 1 || !h.serves() {
		t.Errorf("%d sockets when there are descriptors", n)
	}
}

// What the main process cannot share with its loops it ends. Once may be because it was
// busy, or because the agent was stopped.
func TestSocketsThatTheMainProcessEndsAgainAndAgainAreLeftToOthers(t *testing.T) {
	_, h, turn := opening(t, 2)
	now := int64(0)
	turn(now)
	for _, again := range []bool{true, false} {
		begun := now
		for ; now < begun+int64(bindFor)+2*lookEvery; now += lookEvery {
			if again || now == begun+lookEvery {
				endListening(h.sockets[0].fd)
			}
			turn(now)
			if len(h.sockets) != 2 {
				t.Fatalf("after %d ms there are %d sockets", now/ms, len(h.sockets))
			}
			if h.hopeless(now, false) && now-begun < int64(bindFor) {
				t.Fatalf("it is left to others after %d ms", (now-begun)/ms)
			}
		}
		if h.hopeless(now, false) != again || h.serves() == again {
			t.Errorf("ended again and again %v: left to others %v, serves %v", again, h.hopeless(now, false), h.serves())
		}
	}
}
