//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/clienthello"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// This file begins what the clients of a listener speak, and the connections that
// are passed on as they are: of TCP listeners at once, of TLS_PASSTHROUGH
// listeners when the ClientHello has said for whom.

// setBuffers sets what a client's socket has of its listener. It is not set on the
// listening socket, to be inherited: there it could not be taken back.
func setBuffers(fd int, ls *table.Listener) {
	if ls.ReceiveBuffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, ls.ReceiveBuffer)
	}
	if ls.SendBuffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, ls.SendBuffer)
	}
}

// greet begins a connection whose client is known.
func (l *Loop) greet(d *downstream) {
	listener := d.socket.listener
	d.since = l.now
	switch {
	case listener.Protocol == table.ProtocolTCP:
		l.beginConnection(d, nil)
		return
	case listener.Protocol == table.ProtocolTLSPassthrough:
		d.phase = phaseHello
	case listener.TLS != nil:
		d.phase = phaseShake
	default:
		d.phase = phaseHead
		d.begin()
		d.fresh = true
	}
	l.wheel.arm(d.link, d.deadline())
}

// begin makes the codec of HTTP/1.1 ready, which is spoken unless something else
// turns out.
func (d *downstream) begin() {
	limits := d.socket.listener.Limits
	d.reader.Init(http1.Server, http1.Limits{HeadBytes: limits.HeaderBytes, Fields: limits.HeaderFields})
}

// greetKept is greet for a connection whose first bytes may be kept already.
func (l *Loop) greetKept(d *downstream) {
	k := d.link
	l.greet(d)
	if k.closed {
		return
	}
	switch d.phase {
	case phaseHead:
		l.readDown(d)
	case phaseHello:
		if k.in.len() == 0 || !l.readName(d, k.in.bytes()) {
			l.turnName(d)
		}
	case phaseShake:
		if k.in.len() == 0 || !l.readHello(d, k.in.bytes()) {
			l.turnHello(d)
		}
	}
}

// turnName reads until a ClientHello is there, or cannot come any more.
func (l *Loop) turnName(d *downstream) {
	k := d.link
	for k.readable {
		data, n, state := l.fill(k)
		if n > 0 && l.readName(d, data) {
			return
		}
		l.keep(k, data, 0)
		if state == readEnd || state == readReset {
			l.helloCutShort(d, "truncated")
			return
		}
	}
	if k.broken {
		l.closeDown(d)
	}
}

// readName looks at what has come, and goes on if that says enough. All of it is
// kept: it is the endpoint's to read.
func (l *Loop) readName(d *downstream, data []byte) (enough bool) {
	r, _ := clienthello.Peek(data, nil)
	switch r.Status {
	case clienthello.Failed:
		l.fault(d, 1)
		l.refuseConnection(d, exchange.ReasonHelloMalformed, r.Reason.String())
	case clienthello.Done:
		k := d.link
		if k.in.len() == 0 {
			k.in.add(&l.buffers, data)
		}
		l.beginConnection(d, r.Hello.ServerName)
	default:
		return false
	}
	return true
}

// helloCutShort ends a connection that ends, or has waited for too long, before
// its ClientHello is there. One that sent nothing leaves no trace.
func (l *Loop) helloCutShort(d *downstream, how string) {
	if d.link.in.len() > 0 {
		l.refuseConnection(d, exchange.ReasonHelloMalformed, how)
		return
	}
	l.closeDown(d)
}

// beginConnection starts the exchange of a connection that carries no requests.
// name is the server that its client asks for, if it can say so.
func (l *Loop) beginConnection(d *downstream, name []byte) {
	if l.overloaded() {
		l.refuseConnection(d, exchange.ReasonOverload, "")
		return
	}
	l.look()
	s := l.newStream(d)
	s.head.Reset()
	d.phase = phaseDial
	actions := s.x.BeginConnection(l.lend(s), &s.head, l.arrival(d), name)
	l.actFirst(s, actions)
}
