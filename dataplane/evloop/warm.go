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
	// warmBusy is the pause of a loop that has other worries.
	warmBusy = int64(time.Second)
	// warmYoung is how old an unused connection must be for its end to be no failure.
	warmYoung = int64(time.Second)
)

// warmUp looks at the pools of upstreams that a new table has.
func (l *Loop) warmUp(upstreams []*table.Upstream) {
	for _, u := range upstreams {
		for i := range u.Endpoints {
			l.warmer.list(l.pool(u, &u.Endpoints[i]), l.now)
		}
	}
}

// warm opens what pools lack, as far as their time has come.
func (l *Loop) warm() {
	w := &l.warmer
	w.at = 0
	left, listens := warmBurst, l.sockets.listen()
	kept := w.lacking[:0]
	for _, p := range w.lacking {
		if p.lacks() > 0 && listens && !l.draining { // else it is listed again when that changes
			if left > 0 && l.now >= p.warm.at {
				left = l.warmPool(p, left)
			}
			if p.lacks() > 0 {
				kept = append(kept, p)
				w.soon(max(p.warm.at, l.now+warmGap), l.now)
				continue
			}
		}
		p.warm.listed = false
	}
	clear(w.lacking[len(kept):])
	w.lacking = kept
}

// warmPool opens what a pool lacks, at most left connections.
func (l *Loop) warmPool(p *endpointPool, left int) int {
	for ; left > 0 && p.lacks() > 0 && l.now >= p.warm.at; left-- {
		e := l.engine
		if e.Pressure() != pressure.Calm || e.connections() >= e.ceilings.connections.Load() || p.Endpoint().Waiting() > 0 ||
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
		l.warmer.failed(p, l.now, l.random)
		return
	}
	c := l.newUp(fd, p)
	if c == nil {
		l.connectFailed(p)
		l.warmer.failed(p, l.now, l.random)
		return
	}
	c.warming = true
	p.warm.opening++
	c.idleUntil = l.now + int64(p.connectTimeout)
	l.wheel.arm(c.link, c.idleUntil)
}

// expireWarming ends a connection that nobody asked for and that does not come about.
func (l *Loop) expireWarming(c *upstreamConn) {
	if l.now < c.idleUntil {
		l.wheel.arm(c.link, c.idleUntil)
		return
	}
	l.stats.ConnectFailed(c.pool.series, true)
	l.warmLost(c)
}

// warmLost ends a connection that nobody asked for and that failed. Whoever waits for it
// meanwhile gets another.
func (l *Loop) warmLost(c *upstreamConn) {
	p := c.pool
	l.closeUp(c)
	l.warmer.failed(p, l.now, l.random)
	l.serveWaiting(p)
}

// endedIdle ends an idle connection that its peer has ended. One that did so at once,
// before anybody used the connection, is not asked again at full speed.
func (l *Loop) endedIdle(c *upstreamConn) {
	p := c.pool
	if p.config.MinIdle > 0 && c.served == 0 && l.now < c.idleUntil-int64(p.config.IdleTimeout)+warmYoung {
		l.warmer.failed(p, l.now, l.random)
	}
	l.dropIdle(c)
}

// noteEarlyEnd does for HTTP/2, where GOAWAY comes before the end of a connection, what
// endedIdle does but for that end.
func (l *Loop) noteEarlyEnd(c *upstreamConn) {
	m := c.mux
	if c.pool.config.MinIdle > 0 && c.served == 0 && !m.failed && l.now < m.begun+warmYoung {
		m.failed = true
		l.warmer.failed(c.pool, l.now, l.random)
	}
}

// keptWarm are the upstreams of a new table whose pools are kept warm, or were and are
// no more.
func keptWarm(old, t *table.Table) (all []*table.Upstream) {
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
