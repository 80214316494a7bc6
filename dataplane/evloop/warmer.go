//go:build linux

package evloop

import (
	"math/rand/v2"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

const (
	// warmFirst and warmMost bound the pause after a failure, which doubles each time;
	// up to half of it is random.
	warmFirst = int64(250 * time.Millisecond)
	warmMost  = int64(30 * time.Second)
	// warmShare and warmLead are how long before its time a connection is replaced: one
	// in so many of the time that it may be idle, at most a second.
	warmShare = 8
	warmLead  = int64(time.Second)
)

// warmth is what a pool has for it.
type warmth struct {
	opening int   // connections on their way that no stream asked for
	aging   int   // idle ones whose time is nearly over
	listed  bool  // on the loop's list
	pause   int64 // after the last failure; 0: it was none
	at      int64 // when the next may be opened
}

// lacks is how many connections a pool should open.
func (p *endpointPool) lacks() int {
	switch {
	case p.retired || p.config.MinIdle == 0 || p.to.Weight == 0 || p.header != table.ProxyHeaderNone:
		return 0
	case p.http2:
		return 1 - (len(p.muxes) - p.warm.aging + p.connecting)
	}
	return min(p.config.MinIdle, p.config.MaxIdle) - (p.Idle() - p.warm.aging + p.warm.opening)
}

// lead is how long before its time a connection is replaced that may be idle for so long.
func (p *endpointPool) lead(idle int64) int64 {
	if p.config.MinIdle == 0 {
		return 0
	}
	return min(idle/warmShare, warmLead)
}

// warmer knows which pools of a loop lack connections, and when the first of them may have
// one. What opens connections is in warm.go.
type warmer struct {
	lacking []*endpointPool
	at      int64 // when they are looked at; 0: there are none
}

// list puts a pool on the list of those that lack connections, if it does.
func (w *warmer) list(p *endpointPool, now int64) {
	if p.config.MinIdle == 0 || p.warm.listed || p.lacks() <= 0 {
		return
	}
	p.warm.listed = true
	w.lacking = append(w.lacking, p)
	w.soon(p.warm.at, now)
}

// soon makes sure that the list is looked at at that time, or at once.
func (w *warmer) soon(at, now int64) {
	if at = max(at, now); w.at == 0 || at < w.at {
		w.at = at
	}
}

// failed makes a pool wait.
func (w *warmer) failed(p *endpointPool, now int64, random *rand.PCG) {
	own := &p.warm
	own.pause = min(max(2*own.pause, warmFirst), warmMost)
	own.at = now + own.pause/2 + int64(random.Uint64()%uint64(own.pause/2))
	w.list(p, now)
}

// fine forgets earlier failures of a pool's endpoint.
func (w *warmer) fine(p *endpointPool, now int64) {
	if p.warm.pause > 0 {
		p.warm.pause, p.warm.at = 0, 0
		if p.warm.listed {
			w.soon(now, now)
		}
	}
}

// beginAging notes that an idle connection ends soon, from a time on, so that another is opened.
func (w *warmer) beginAging(c *upstreamConn, from, now int64) {
	p := c.pool
	if !c.aging && p.config.MinIdle > 0 && now >= from {
		c.aging = true
		p.warm.aging++
		w.list(p, now)
	}
}

// endAging notes that a connection's end is not near any more: it is used, or over.
func (c *upstreamConn) endAging() {
	if c.aging {
		c.aging = false
		c.pool.warm.aging--
	}
}

// warmOver ends the way of a connection that no stream has asked for: it has come,
// or it will not.
func (c *upstreamConn) warmOver() {
	if c.warming {
		c.warming = false
		c.pool.warm.opening--
	}
}
