//go:build linux

package evloop

import (
	"math"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// This file opens connections to endpoints.

// connect opens a connection for a stream. TryOpen has counted it. False: there
// is no descriptor for one, and the stream has been told or waits again.
func (l *Loop) connect(s *stream, p *endpointPool) bool {
	fd, errno := l.dial(p.to)
	if outOfDescriptors(errno) {
		p.Closed() // others are not told: they would have no descriptor either, and tell us
		l.withoutDescriptor(s, p)
		return false
	}
	if errno != 0 {
		l.connectFailed(p)
		l.step(s, acquireFailed(errno))
		return true
	}
	c := l.newUp(fd, p)
	if c == nil {
		l.connectFailed(p)
		l.step(s, acquireFailed(unix.ENOMEM))
		return true
	}
	l.assign(s, c)
	return true
}

// dial begins a connection, if there is a descriptor for it. An idle connection
// to another endpoint makes room.
func (l *Loop) dial(to *table.Endpoint) (fd int, errno unix.Errno) {
	if l.engine.connections() >= l.engine.ceilings.connections.Load() && !l.freeDescriptor() {
		return -1, unix.EMFILE
	}
	fd, errno = sysConnect(to.AddrPort, to.Unix)
	if outOfDescriptors(errno) && l.freeDescriptor() {
		return sysConnect(to.AddrPort, to.Unix)
	}
	return fd, errno
}

// outOfDescriptors says that the process or the system has none left.
func outOfDescriptors(errno unix.Errno) bool { return errno == unix.EMFILE || errno == unix.ENFILE }

// newUp makes the connection of a descriptor that connects; nil: it cannot be had.
func (l *Loop) newUp(fd int, p *endpointPool) *upstreamConn {
	setUpstream(fd, p)
	k := l.newLink(fd, false)
	if k == nil {
		return nil
	}
	c := l.old.ups.take()
	*c = upstreamConn{link: k, pool: p, client: p.client, http2: p.http2}
	k.up = c
	c.reader.Init(http1.Client, http1.Limits{})
	if c.http2 {
		p.connecting++
	}
	return c
}

func (l *Loop) connectFailed(p *endpointPool) {
	p.Closed()
	l.tellPlace(p)
	l.stats.ConnectFailed(p.series, false)
}

// acquireFailed is the event of a connection that could not be had: nothing was
// sent, so any request may be tried again.
func acquireFailed(errno unix.Errno) exchange.Event {
	return exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
		Reason: exchange.ReasonConnectFailure,
		Retry:  exchange.RetryNothingSent,
		Detail: unix.ErrnoName(errno),
	}}
}

// connectDone learns how a connect ended.
func (l *Loop) connectDone(c *upstreamConn) {
	s := c.stream
	if errno := sysError(c.link.fd); errno != 0 {
		p := c.pool
		l.stats.ConnectFailed(p.series, errno == unix.ETIMEDOUT)
		if s == nil {
			l.warmLost(c)
			return
		}
		l.closeUp(c)
		s.up = nil
		l.step(s, acquireFailed(errno))
		l.serveWaiting(p)
		return
	}
	c.link.broken = false
	if c.pool.header != table.ProxyHeaderNone {
		if s == nil { // a table that wants headers came meanwhile, and there is nobody to name
			l.closeUp(c)
			l.serveWaiting(c.pool)
			return
		}
		l.sendProxyHeader(c)
	}
	if c.client != nil {
		l.beginShakeUp(c)
		return
	}
	l.opened(c)
}

// opened gives a new connection to the stream that asked for it.
func (l *Loop) opened(c *upstreamConn) {
	c.connected = true
	p := c.pool
	if c.warmOver(); c.stream != nil {
		l.warmer.fine(p, l.now) // it is there
	}
	c.expires = l.lifetime(c.pool)
	c.series = l.stats.EndpointOpened(c.pool.series)
	if c.stream == nil && (c.client != p.client || c.http2 != p.http2 || p.header != table.ProxyHeaderNone) {
		if c.http2 {
			p.connecting--
		}
		l.closeUp(c) // opened by other settings
		l.serveWaiting(p)
		return
	}
	if c.link.readable { // bytes, or the end, came with it, and make no other edge
		l.makeReady(c.link)
	}
	if c.http2 {
		l.openedMux(c)
		return
	}
	if c.stream == nil {
		l.passOn(c)
		l.warmer.list(p, l.now) // it may have gone to a stream that waits
		if c.idle {
			l.checkIdle(c) // its end may have come with it, and makes no other edge
		}
		return
	}
	l.step(c.stream, exchange.Event{Kind: exchange.EventAcquired})
}

// setUpstream sets what a connection to an endpoint has of its upstream.
func setUpstream(fd int, p *endpointPool) {
	if p.to.Unix != "" {
		return // nothing of it is about UNIX sockets
	}
	setKeepAlive(fd, p.socket.KeepAlive)
	if t := p.socket.UserTimeout; t > 0 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(t/time.Millisecond))
	}
}

// lifetimeSpread: a connection ends up to a tenth earlier or later than maxLifetime, so
// that those which were opened together do not all end together.
const lifetimeSpread = 10

// spreadLife is how long a connection is used, of a maxLifetime and its chance.
func spreadLife(most time.Duration, chance uint16) int64 {
	spread := int64(most) / lifetimeSpread
	return int64(most) - spread + 2*spread/math.MaxUint16*int64(chance)
}

// lifetime is when a connection that is opened now is not used any more; 0: it
// has no such time.
func (l *Loop) lifetime(p *endpointPool) int64 {
	if p.config.MaxLifetime == 0 {
		return 0
	}
	return l.now + spreadLife(p.config.MaxLifetime, uint16(l.random.Uint64()))
}

// expired says that a connection has had its time.
func (c *upstreamConn) expired(now int64) bool { return c.expires > 0 && now >= c.expires }
