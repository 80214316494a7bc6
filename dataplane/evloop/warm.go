//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file keeps pools warm: a loop has minIdle idle connections to an endpoint, or
// one that speaks HTTP/2, before anybody asks for them. They are opened when a table
// comes, when others are taken or end, and a little before idle ones time out.
//
// A pool that lacks some is on the loop's list. At the end of a turn, when its time
// has come, a few are opened. Where that fails the time is later, and later each time:
// an endpoint that is not there, or that closes what nobody has used, is not asked at
// full speed. A loop that listens nowhere, one under pressure, and an endpoint that has
// all the connections that it may have, get none.

const (
	// warmBurst is how many connections a loop begins in one go, for all pools: a push
	// of a thousand upstreams must not make it late. warmGap is the time to the next.
	warmBurst = 16
	warmGap   = int64(2 * time.Millisecond)
	// warmFirst and warmMost bound the pause after a failure, which doubles each time;
	// up to half of it is random.
	warmFirst = int64(250 * time.Millisecond)
	warmMost  = int64(30 * time.Second)
	// warmBusy is the pause of a loop that has other worries.
	warmBusy = int64(time.Second)
	// warmYoung is how old an unused connection must be for its end to be no failure.
	warmYoung = int64(time.Second)
	// warmShare and warmLead are how long before its time a connection is replaced: one
	// in so many of the idle timeout, at most a second.
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

// lead is how long before its time an idle connection is replaced.
func (p *endpointPool) lead() int64 {
	if p.config.MinIdle == 0 {
		return 0
	}
	return min(int64(p.config.IdleTimeout)/warmShare, warmLead)
}

// listLacking puts a pool on the list of those that lack connections, if it does.
func (l *Loop) listLacking(p *endpointPool) {
	if p.config.MinIdle == 0 || p.warm.listed || p.lacks() <= 0 {
		return
	}
	p.warm.listed = true
	l.lacking = append(l.lacking, p)
	l.warmSoon(p.warm.at)
}

// warmSoon makes sure that warm is called at that time, or at once.
func (l *Loop) warmSoon(at int64) {
	if at = max(at, l.now); l.warmAt == 0 || at < l.warmAt {
		l.warmAt = at
	}
}

// warmUp looks at the pools of upstreams that a new table has.
func (l *Loop) warmUp(upstreams []*table.Upstream) {
	for _, u := range upstreams {
		for i := range u.Endpoints {
			l.listLacking(l.pool(u, &u.Endpoints[i]))
		}
	}
}

// warm opens what pools lack, as far as their time has come.
func (l *Loop) warm() {
	l.warmAt = 0
	left, listens := warmBurst, l.sockets.listen()
	kept := l.lacking[:0]
	for _, p := range l.lacking {
		if p.lacks() > 0 && listens && !l.draining { // else it is listed again when that changes
			if left > 0 && l.now >= p.warm.at {
				left = l.warmPool(p, left)
			}
			if p.lacks() > 0 {
				kept = append(kept, p)
				l.warmSoon(max(p.warm.at, l.now+warmGap))
				continue
			}
		}
		p.warm.listed = false
	}
	clear(l.lacking[len(kept):])
	l.lacking = kept
}

// warmPool opens what a pool lacks, at most left connections.
func (l *Loop) warmPool(p *endpointPool, left int) int {
	for ; left > 0 && p.lacks() > 0 && l.now >= p.warm.at; left-- {
		e := l.engine
		if e.Pressure() != pressure.Calm || e.connections() >= e.ceilings.connections || p.Endpoint().Waiting() > 0 ||
			!p.TryOpen(p.config.MaxConnections) {
			p.warm.at = l.now + warmBusy
			break
		}
		l.connectWarm(p)
	}
	return left
}

// connectWarm opens a connection that no stream has asked for. TryOpen has counted
// it.
func (l *Loop) connectWarm(p *endpointPool) {
	fd, errno := sysConnect(p.to.AddrPort, p.to.Unix)
	if errno != 0 {
		l.connectFailed(p)
		l.warmFailed(p)
		return
	}
	c := l.newUp(fd, p)
	if c == nil {
		l.connectFailed(p)
		l.warmFailed(p)
		return
	}
	c.warming = true
	p.warm.opening++
	c.idleUntil = l.now + int64(p.connectTimeout)
	l.wheel.arm(c.link, c.idleUntil)
}

// warmOver ends the way of a connection that no stream has asked for: it has come,
// or it will not.
func (c *upstreamConn) warmOver() {
	if c.warming {
		c.warming = false
		c.pool.warm.opening--
	}
}

// warmFailed makes a pool wait.
func (l *Loop) warmFailed(p *endpointPool) {
	w := &p.warm
	w.pause = min(max(2*w.pause, warmFirst), warmMost)
	w.at = l.now + w.pause/2 + int64(l.random.Uint64()%uint64(w.pause/2))
	l.listLacking(p)
}

// warmFine forgets earlier failures of a pool's endpoint.
func (l *Loop) warmFine(p *endpointPool) {
	if p.warm.pause > 0 {
		p.warm.pause, p.warm.at = 0, 0
		if p.warm.listed {
			l.warmSoon(l.now)
		}
	}
}

// timeUpWarm ends a connection that nobody asked for and that does not come about.
func (l *Loop) timeUpWarm(c *upstreamConn) {
	if l.now < c.idleUntil {
		l.wheel.arm(c.link, c.idleUntil)
		return
	}
	l.stats.ConnectFailed(c.pool.series, true)
	l.warmLost(c)
}

// warmLost ends a connection that nobody asked for and that failed. Who waits for it
// meanwhile gets another.
func (l *Loop) warmLost(c *upstreamConn) {
	p := c.pool
	l.closeUp(c)
	l.warmFailed(p)
	l.serveWaiting(p)
}

// endedIdle ends an idle connection that its peer has ended. One that did so at once,
// before anybody used the connection, is not asked again at full speed.
func (l *Loop) endedIdle(c *upstreamConn) {
	p := c.pool
	if p.config.MinIdle > 0 && c.served == 0 && l.now < c.idleUntil-int64(p.config.IdleTimeout)+warmYoung {
		l.warmFailed(p)
	}
	l.dropIdle(c)
}

// noteEarlyEnd does for HTTP/2, where GOAWAY comes before the end of a connection, what
// endedIdle does but for that end.
func (l *Loop) noteEarlyEnd(c *upstreamConn) {
	m := c.mux
	if c.pool.config.MinIdle > 0 && c.served == 0 && !m.failed && l.now < m.begun+warmYoung {
		m.failed = true
		l.warmFailed(c.pool)
	}
}

// beginAging notes that an idle connection ends soon, so that another is opened.
func (l *Loop) beginAging(c *upstreamConn, until int64) {
	p := c.pool
	if !c.aging && p.config.MinIdle > 0 && l.now >= until-p.lead() {
		c.aging = true
		p.warm.aging++
		l.listLacking(p)
	}
}

// endAging notes that a connection's end is not near any more: it is used, or over.
func (c *upstreamConn) endAging() {
	if c.aging {
		c.aging = false
		c.pool.warm.aging--
	}
}

// warmers are the upstreams of a new table whose pools are kept warm, or were and are
// no more.
func warmers(old, t *table.Table) (all []*table.Upstream) {
	for _, u := range t.Upstreams {
		if u.Pool.MinIdle > 0 {
			all = append(all, u)
		}
	}
	for _, before := range old.Upstreams {
		if before.Pool.MinIdle > 0 {
			if u := t.Upstream(before.Name); u != nil && u.Pool.MinIdle == 0 {
				all = append(all, u)
			}
		}
	}
	return all
}
