//go:build linux

package evloop

import (
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/permit"
)

const (
	// shakePatience is for how long a handshake may wait for its turn to begin, before those
	// that wait are hurried: on a machine whose processors loops use up, what goes behind these
	// gets a tenth of one, and clients come that want more.
	shakePatience = 10 * time.Millisecond
	// shakeHurry is how long handshakes are hurried from then on.
	shakeHurry = time.Second
)

// crew are the threads that shake hands, for all loops. Each has one handshake at a time that
// computes, and holds one of the node's permits meanwhile. Clients take turns.
//
// The first thread goes behind the loops (see stepBack): what a request needs of a loop takes
// microseconds, a handshake most of a millisecond, and the kernel does not interrupt for a loop
// what has its priority. The others are beside the loops, and begin handshakes that are hurried.
// Whoever began a handshake goes on with it.
type crew struct {
	log     *slog.Logger
	permits permit.Semaphore
	now     func() int64
	threads []*shakeThread // immutable; the first goes behind the loops
	all     sync.WaitGroup // the threads that run

	mu         sync.Mutex
	fresh      shakeTurns // that nobody has begun
	hurryUntil int64
	ended      bool
}

func newCrew(log *slog.Logger, now func() int64, p permit.Semaphore) *crew {
	c := &crew{log: log, permits: p, now: now}
	for range 1 + cap(p) {
		c.threads = append(c.threads, new(shakeThread))
	}
	return c
}

// start starts the threads.
func (c *crew) start() {
	for i, t := range c.threads {
		c.all.Go(func() { c.run(t, i == 0) })
	}
}

// begin has a handshake done that nobody has begun.
func (c *crew) begin(h *handshake) {
	h.came = c.now()
	c.mu.Lock()
	c.fresh.add(h)
	hurry := c.hurries(h.came)
	c.mu.Unlock()
	c.call(hurry)
}

// hurries says whether those that wait to be begun are hurried. mu is held.
func (c *crew) hurries(now int64) bool {
	if l := c.fresh.next; l != nil && now-l.waiting.first.came > int64(shakePatience) {
		c.hurryUntil = now + int64(shakeHurry)
	}
	return now < c.hurryUntil
}

// call wakes a thread that begins what waits; one that is awake looks for it by itself.
func (c *crew) call(hurry bool) {
	if !hurry {
		c.threads[0].bell.ring()
		return
	}
	for _, t := range c.threads[1:] {
		if t.bell.ring() {
			return
		}
	}
}

// goOn has a handshake done that was begun.
func (c *crew) goOn(h *handshake) {
	c.mu.Lock()
	h.thread.turns.add(h)
	c.mu.Unlock()
	h.thread.bell.ring()
}

// end ends the threads, when all loops have ended, and waits for them.
func (c *crew) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	for _, t := range c.threads {
		t.bell.ring()
	}
	c.all.Wait()
}

// shakeThread is a thread of the crew. Its handshakes are coroutines, which run until they
// need bytes of their peers.
type shakeThread struct {
	bell  bell
	turns shakeTurns // guarded by the crew's mu; that it has begun, and may go on with
	// owned by the thread
	wentOn bool // with its last turn: now it begins one, if it can
	shakings
}

// run is a thread. It is locked for good: it ends with its priority.
func (c *crew) run(t *shakeThread, behind bool) {
	runtime.LockOSThread()
	if behind {
		if err := stepBack(); err != nil {
			c.log.Info("handshakes do not go behind requests", "error", err)
		}
	}
	for h := c.next(t, behind); h != nil; h = c.next(t, behind) {
		if h.thread == nil { // else the loop has read it
			h.thread = t
		}
		c.permits.Acquire()
		t.shakings.goOn(h)
		c.permits.Release()
		h.report()
	}
	t.endIdle(0)
}

// next waits for a handshake that has something to compute; nil: the thread ends. Those that it
// has begun and those that it may begin are served in turns: a client that has the thread go
// on with thousands must not keep others from beginning.
func (c *crew) next(t *shakeThread, behind bool) *handshake {
	for {
		c.mu.Lock()
		h, theirs := c.pick(t, behind)
		ended := c.ended
		if h == nil && !ended {
			t.bell.arm()
		}
		c.mu.Unlock()
		if theirs {
			c.call(behind)
		}
		if h != nil || ended {
			return h
		}
		t.bell.wait()
	}
}

// pick takes a handshake for a thread, if there is one; theirs: another one is to begin what
// waits, beside loops where this one is behind them, or behind. mu is held.
func (c *crew) pick(t *shakeThread, behind bool) (h *handshake, theirs bool) {
	theirs = c.fresh.next != nil && c.hurries(c.now()) == behind
	first, second := &t.turns, &c.fresh
	switch {
	case theirs:
		second = &t.turns
	case t.wentOn:
		first, second = second, first
	}
	t.wentOn = !t.wentOn
	if h = first.take(); h == nil {
		h = second.take()
	}
	return h, theirs
}
