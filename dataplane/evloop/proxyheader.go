//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/proxyproto"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file is the PROXY protocol on both sides: the header by which a trusted
// peer says who the client is, and the one by which we say it to an endpoint.

// awaitProxy begins a connection whose first bytes are, or may be, a PROXY header.
func (l *Loop) awaitProxy(d *downstream) {
	ls := d.socket.listener
	trusted := ls.Trusts(d.peer.Addr())
	if !trusted && ls.ProxyProtocol == table.ProxyOptional && ls.Protocol == table.ProtocolTCP {
		d.doubtful = true
		l.greet(d)
		return
	}
	d.phase = phaseProxy
	l.wheel.arm(d.link, d.deadline())
	if ls.ProxyProtocol == table.ProxyRequired && !trusted {
		l.refuseConnection(d, exchange.ReasonProxyUntrusted, "")
	}
}

// readDoubtful reads the first bytes of a client whose header is not taken, of a tunnel that is open:
// its endpoint may be the one to speak first. False: the tunnel is over, or more bytes must tell
// whether they are a header.
func (l *Loop) readDoubtful(s *stream, k *link) (fine bool) {
	for k.readable {
		data, _, state := l.fill(k)
		r := proxyproto.Parse(data)
		begun := len(data) > 0
		l.keep(k, data, 0)
		switch {
		case begun && r.Status != proxyproto.NeedMore && r.Status != proxyproto.Absent:
			l.step(s, exchange.Event{Kind: exchange.EventRequestFailed, Failure: exchange.Failure{Reason: exchange.ReasonProxyUntrusted}})
			return false
		case state == readReset || state == readEnd && k.unheard:
			l.tunnelBroken(s, k)
			return false
		case state == readEnd:
			k.readable = true // it is read again, behind what is kept
		case !begun || r.Status == proxyproto.NeedMore:
			continue
		}
		k.down.doubtful = false
		return true
	}
	return false
}

// readProxy reads until a PROXY header is there, or cannot come any more.
func (l *Loop) readProxy(d *downstream) {
	k := d.link
	for k.readable {
		data, _, state := l.fill(k)
		r := proxyproto.Parse(data)
		if len(data) > 0 && r.Status != proxyproto.NeedMore {
			l.keep(k, data, r.N)
			l.proxyRead(d, &r)
			return
		}
		l.keep(k, data, 0)
		if state == readEnd || state == readReset {
			l.proxyCutShort(d, "truncated")
			return
		}
	}
	if k.in.len() > 0 {
		l.wheel.arm(k, d.deadline())
	}
}

// proxyRead goes on when the first bytes are known to be a header, or none. What
// follows them is kept.
func (l *Loop) proxyRead(d *downstream, r *proxyproto.Result) {
	listener := d.socket.listener
	trusted := listener.Trusts(d.peer.Addr())
	switch {
	case r.Status == proxyproto.Absent && listener.ProxyProtocol == table.ProxyRequired:
		l.refuseConnection(d, exchange.ReasonProxyMissing, "")
		return
	case r.Status == proxyproto.Absent:
	case !trusted:
		l.refuseConnection(d, exchange.ReasonProxyUntrusted, "")
		return
	case r.Status == proxyproto.Failed:
		l.refuseConnection(d, exchange.ReasonProxyMalformed, r.Reason.String())
		return
	case r.Header.Source.IsValid():
		d.leaveClientele() // it may have been counted as its proxy, who was not trusted then
		d.peer, d.local = r.Header.Source, r.Header.Destination
		if !l.enterNamed(d) {
			return
		}
	}
	l.greetKept(d)
}

// proxyCutShort ends a connection that ends, or has waited for too long, within
// its header. One that sent nothing was a probe, or a client that changed its mind.
func (l *Loop) proxyCutShort(d *downstream, how string) {
	switch {
	case d.link.in.len() > 0:
		l.refuseConnection(d, exchange.ReasonProxyMalformed, how)
	case how == timedOut && d.socket.listener.ProxyProtocol == table.ProxyRequired:
		l.refuseConnection(d, exchange.ReasonProxyMissing, how)
	default:
		l.closeDown(d)
	}
}

// timedOut is the detail of a header that did not come in time.
const timedOut = "timeout"

// proxyDeadline is when a header must be there. One that may be left out has the
// time of a connection without a request until its first byte.
func (d *downstream) proxyDeadline() int64 {
	ls := d.socket.listener
	if ls.ProxyProtocol == table.ProxyOptional && d.link.in.len() == 0 {
		return d.since + int64(ls.Timeouts.Idle)
	}
	return d.since + int64(ls.Timeouts.RequestHead)
}

// refuseConnection ends a connection before anything was understood on it.
func (l *Loop) refuseConnection(d *downstream, reason exchange.Reason, detail string) {
	l.look()
	s := l.newStream(d)
	s.head.Reset()
	l.act(s, s.x.RefuseConnection(l.lend(s), &s.head, l.arrival(d), exchange.Failure{Reason: reason, Detail: detail}))
}

// sendProxyHeader tells an endpoint who the client is, before anything else. The
// connection belongs to that client from now on.
func (l *Loop) sendProxyHeader(c *upstreamConn) {
	d := c.stream.down
	if !d.local.IsValid() {
		d.local = sysLocal(d.link.fd)
	}
	if c.pool.header == table.ProxyHeaderV1 {
		l.frame = proxyproto.AppendV1(l.frame[:0], d.peer, d.local)
	} else {
		l.frame = proxyproto.AppendV2(l.frame[:0], d.peer, d.local)
	}
	c.private = true
	l.send(c.link, l.frame)
	if c.client != nil {
		l.unstage(c.link) // a handshake does not go through the stage
	}
}
