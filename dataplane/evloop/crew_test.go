//go:build linux

package evloop

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/poll"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// idleCrew is a crew of one permit whose threads do not run, and whose clock stands still.
func idleCrew() *crew {
	return newCrew(slog.New(slog.DiscardHandler), func() int64 { return 0 }, permit.New(1))
}

// crewAt is an idle crew whose time is what clock says, and one loop's handshakes. begin begins
// one with an endpoint: it waits for an answer to its hello as soon as a thread has begun it.
func crewAt(t *testing.T) (c *crew, clock *atomic.Int64, s *shaker, begin func(now time.Duration) *handshake) {
	t.Helper()
	p, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	clock = new(atomic.Int64)
	c = idleCrew()
	c.now = clock.Load
	own := newShaker(c, p)
	client := secure.NewClient(new(table.UpstreamTLS), "192.0.2.1", secure.HTTP1)
	return c, clock, &own, func(now time.Duration) *handshake {
		clock.Store(int64(now))
		k := new(link)
		own.begin(k, client.Conn(), false)
		return k.shake
	}
}

// TestHandshakesThatWaitTooLongAreHurried has the thread that goes behind loops get no time at
// all, until the end.
func TestHandshakesThatWaitTooLongAreHurried(t *testing.T) {
	c, _, s, begin := crewAt(t)
	behind, beside := c.threads[0], c.threads[1]
	c.all.Go(func() { c.run(beside, false) })
	untouched := func(when string) {
		t.Helper()
		eventually(t, "the thread beside loops to sleep "+when, func() bool { return beside.bell.armed.Load() == 1 })
		if len(s.reports) > 0 {
			t.Fatalf("%d handshakes are hurried %s", len(s.reports), when)
		}
	}
	early := []*handshake{begin(0), begin(shakePatience)}
	untouched("before they waited for too long")
	early = append(early, begin(shakePatience+1))
	for i, want := range early {
		if h := s.take(); h != want || !h.waiting || h.thread != beside {
			t.Fatalf("handshake %d is not begun beside loops", i)
		}
	}
	next := begin(shakeHurry)
	if s.take() != next || next.thread != beside {
		t.Fatal("the next one is not hurried, so soon")
	}
	late := begin(shakePatience + 1 + shakeHurry)
	untouched("when it was long ago")

	c.all.Go(func() { c.run(behind, true) })
	if s.take() != late || late.thread != behind {
		t.Error("it is not begun behind loops")
	}
	for i, h := range append(early, next, late) { // by the thread that began it, or Go ends the process
		h.conn.GiveUp()
		s.resume(h)
		if s.take() != h || h.conn.Waiting() || h.shaking != nil {
			t.Errorf("handshake %d does not end", i)
		}
	}
	c.end()
	if s.underWay != 0 || beside.underWay != 0 || behind.underWay != 0 || len(beside.idle)+len(behind.idle) != 0 {
		t.Errorf("%d handshakes are under way at the end", s.underWay)
	}
}

// TestWhatWaitsWhileOneComputesForLongIsHurried, though nobody comes meanwhile.
func TestWhatWaitsWhileOneComputesForLongIsHurried(t *testing.T) {
	c, clock, s, begin := crewAt(t)
	c.start()
	defer c.end()
	c.permits.Acquire() // so it computes until this is given back
	slow := begin(0)
	eventually(t, "it to begin", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.fresh.next == nil
	})
	waits := begin(0)
	clock.Store(int64(shakePatience) + 1)
	c.permits.Release()
	for range 2 {
		s.take() // in either order: the thread beside loops may look for work at any time
	}
	if slow.thread != c.threads[0] || waits.thread != c.threads[1] {
		t.Error("the first one is not begun behind loops, or the one that waited not beside them")
	}
	s.leave(slow.link)
	s.leave(waits.link)
	s.end()
}

// TestWhoeverHasTheThreadGoOnKeepsNobodyFromBeginning, however much is to be gone on with.
func TestWhoeverHasTheThreadGoOnKeepsNobodyFromBeginning(t *testing.T) {
	c, _, _, begin := crewAt(t)
	behind := c.threads[0]
	for range 100 {
		behind.turns.add(&handshake{thread: behind})
	}
	fresh := []*handshake{begin(0), begin(0)}
	begun := 0
	for range 2 * len(fresh) {
		if h := c.next(behind, true); h.thread == nil {
			begun++
		}
	}
	if begun != len(fresh) {
		t.Errorf("%d of %d are begun in twice as many turns", begun, len(fresh))
	}
	if c.fresh.next != nil {
		t.Error("some still wait to begin")
	}
}

// TestWhatGoesBehindLoopsIsOneThread: the one that steps back, and none that it has not
// begun.
func TestWhatGoesBehindLoopsIsOneThread(t *testing.T) {
	attributes := func() unix.SchedAttr {
		a, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Error(err)
			return unix.SchedAttr{}
		}
		return *a
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := attributes()
	stepped := make(chan unix.SchedAttr)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		if err := stepBack(); err != nil {
			t.Error(err)
		}
		stepped <- attributes()
		others := make(chan unix.SchedAttr)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			others <- attributes()
		}()
		stepped <- <-others
	}()
	const batch = 3
	got := <-stepped
	if got.Policy != batch || got.Nice != min(before.Nice+10, 19) {
		t.Errorf("it has policy %d and niceness %d, from %d and %d", got.Policy, got.Nice, before.Policy, before.Nice)
	}
	if before.Runtime > 0 && got.Runtime <= before.Runtime { // 0: the kernel knows no slices of threads
		t.Errorf("it has slices of %d ns, others of %d", got.Runtime, before.Runtime)
	}
	if got := <-stepped; got != before {
		t.Errorf("a thread of another goroutine has policy %d and niceness %d", got.Policy, got.Nice)
	}
	if got := attributes(); got != before {
		t.Errorf("this thread has policy %d and niceness %d", got.Policy, got.Nice)
	}
}

// asleep says that a thread of this process sleeps in the kernel.
func asleep(t *testing.T, thread int64) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", thread))
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(stat), ") ") // the name before it may have spaces
	return strings.HasPrefix(state, "S")
}

// TestABellIsHeardByWhoWaits, or waits soon.
func TestABellIsHeardByWhoWaits(t *testing.T) {
	var b bell
	if b.ring() {
		t.Error("somebody waits")
	}
	b.arm()
	if !b.ring() {
		t.Error("nobody waits")
	}
	b.wait() // it has rung

	const rounds = 1000
	heard := make(chan int)
	var returned atomic.Int64
	var thread atomic.Int64
	go func() {
		runtime.LockOSThread()
		thread.Store(int64(unix.Gettid()))
		for i := range rounds {
			b.arm()
			heard <- i
			for b.armed.Load() == 1 {
				b.wait()
				returned.Add(1)
			}
		}
		close(heard)
	}()
	for i := range heard {
		if i == rounds-1 {
			before := returned.Load() // nobody rings: only signals end waits
			eventually(t, "the thread to sleep", func() bool { return asleep(t, thread.Load()) })
			if n := returned.Load() - before; n > 100 {
				t.Errorf("it waited %d times, and nobody rang", n)
			}
		}
		b.ring()
	}
}

// TestAPanicInAHandshakeTellsItsStack, which is not that of the thread in which it goes on.
func TestAPanicInAHandshakeTellsItsStack(t *testing.T) {
	s := newShaking()
	s.h = new(handshake)
	defer func() {
		if told := fmt.Sprint(recover()); !strings.Contains(told, "secure.(*Conn).Handshake") {
			t.Errorf("%s", told)
		}
	}()
	s.goOn()
	t.Error("a handshake without a connection")
}
