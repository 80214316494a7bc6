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
	// shakePatience is for how long handshakes may wait and none be begun before those that
	// wait are hurried: on a machine whose processors loops use up, what goes behind these
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
	now     func() int64   // as loops have it
	threads []*shakeThread // immutable; the first goes behind the loops
	all     sync.WaitGroup // the threads that run

	mu      sync.Mutex
	fresh   shakeTurns // that nobody has begun
	begun   int64      // when one of these was begun, or came and was alone
	hurried int64      // until when they are hurried
	hurry   bool       // they are, as of the last that came
	ended   bool
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
func (c *crew) begin(h *handshake, now int64) {
	c.mu.Lock()
	if c.fresh.next == nil {
		c.begun = now
	}
	c.fresh.add(h)
	c.judge(now)
	hurry := c.hurry
	c.mu.Unlock()
	c.call(hurry)
}

// judge says who begins what waits. mu is held.
func (c *crew) judge(now int64) {
	if now-c.begun > int64(shakePatience) {
		c.hurried = now + int64(shakeHurry)
	}
	c.hurry = now < c.hurried
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
	underWay int
	idle     []*shaking
}

// run is a thread. It is locked for good: it ends with its priority.
func (c *crew) run(t *shakeThread, behind bool) {
	runtime.LockOSThread()
	if behind {
		if err := stepBack(); err != nil {
			c.log.Debug("handshakes do not go behind requests", "error", err)
		}
	}
	for h := c.next(t, behind); h != nil; h = c.next(t, behind) {
		if h.thread == nil {
			h.thread, h.shaking = t, t.take(h)
		}
		c.permits.Acquire()
		over := h.shaking.goOn()
		c.permits.Release()
		if over {
			t.giveBack(h.shaking)
			h.shaking = nil
		}
		h.report()
	}
	t.endIdle(0)
}

// next waits for a handshake that has something to compute, first of all one that was begun;
// nil: the thread ends.
func (c *crew) next(t *shakeThread, behind bool) *handshake {
	for {
		c.mu.Lock()
		h := t.turns.take()
		others := false // they begin what waits: those beside loops, where this one is behind, or that one
		if h == nil && c.fresh.next != nil {
			now := c.now()
			c.judge(now)
			if others = c.hurry == behind; !others {
				h = c.fresh.take()
				c.begun = now
			}
		}
		ended := c.ended
		if h == nil && !ended {
			t.bell.arm()
		}
		c.mu.Unlock()
		if h != nil || ended {
			return h
		}
		if others {
			c.call(behind)
		}
		t.bell.wait()
	}
}
