//go:build linux

package evloop

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/permit"
)

const (
	// maxIdleShakers bounds the goroutines that wait for handshakes, at 8 to 16 KiB
	// each, and shakerPatience is how long one does: at 50 handshakes a second those
	// that a permit needs are there.
	maxIdleShakers = 64
	shakerPatience = time.Second
)

// crew are the goroutines that shake hands, for all loops. Each has one handshake at a
// time, and holds one of the node's permits while that computes. Clients take turns.
type crew struct {
	permits *permit.Crowd   // immutable
	all     sync.WaitGroup  // the goroutines
	idle    atomic.Int32    // those that wait for a handshake
	offered chan *handshake // to one that waits
	over    chan struct{}   // closed when all loops have ended; then they end too
}

func newCrew(p permit.Semaphore) *crew {
	return &crew{permits: permit.NewCrowd(p), offered: make(chan *handshake), over: make(chan struct{})}
}

// begin has a handshake done: by a goroutine that waits for one, or a new one.
func (c *crew) begin(h *handshake) {
	select {
	case c.offered <- h:
	default:
		c.all.Add(1)
		go c.shakeHands(h)
	}
}

// shakeHands is the goroutine. Having grown its stack for one handshake it waits
// a while for the next.
func (c *crew) shakeHands(h *handshake) {
	defer c.all.Done()
	patience := time.NewTimer(shakerPatience)
	defer patience.Stop()
	for h != nil {
		h.conn.Handshake(c.permits.Member(h.client), h.report)
		h = c.next(patience)
	}
}

// next waits for another handshake; nil: the goroutine is not needed.
func (c *crew) next(patience *time.Timer) *handshake {
	defer c.idle.Add(-1)
	if c.idle.Add(1) > maxIdleShakers {
		return nil
	}
	patience.Reset(shakerPatience)
	select {
	case h := <-c.offered:
		return h
	case <-patience.C:
		return nil
	case <-c.over:
		return nil
	}
}

// end ends the goroutines, when all loops have ended, and waits for them.
func (c *crew) end() {
	close(c.over)
	c.all.Wait()
}
