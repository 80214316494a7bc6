//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/clienthello"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
)

// plainAnswer is what a client gets that speaks HTTP without TLS to a listener
// with TLS.
const plainAnswer = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 37\r\n\r\nthis port speaks HTTPS: use https://\r\n"

// alertRefused and alertNotTLS are alerts of a peer without keys (RFC 8446
// section 6): internal_error, and unexpected_message.
const (
	alertRefused = "\x15\x03\x03\x00\x02\x02\x50"
	alertNotTLS  = "\x15\x03\x03\x00\x02\x02\x0a"
)

// server is what meets the clients of a socket, made again when its listener's
// settings are others.
func (l *Loop) server(s *socket) *secure.Server {
	if s.server == nil || s.server.Of() != s.listener.TLS {
		s.server = secure.NewServer(s.listener.TLS, l.engine.tickets, secure.HTTP2, secure.HTTP1)
	}
	return s.server
}

// turnHello serves a client whose handshake is not over. It is begun when the
// whole ClientHello is there.
func (l *Loop) turnHello(d *downstream) {
	k := d.link
	if k.shake != nil {
		l.turnShake(k)
		return
	}
	for k.readable && !k.broken {
		data, n, _ := l.fill(k)
		if n == 0 {
			break
		}
		if l.readHello(d, data) {
			return
		}
		l.keep(k, data, 0)
	}
	if k.broken || k.readHup {
		l.countHandshake(k, secure.ResultGone)
		l.closeDown(d)
	}
}

// readHello looks at what has come, and goes on if that says enough.
func (l *Loop) readHello(d *downstream, data []byte) (enough bool) {
	hello, why, whole := peekHello(data)
	switch {
	case whole:
		l.beginShake(d, data, &hello)
	case why == secure.ResultPlain:
		l.refuseHello(d, why, plainAnswer)
	case why != secure.ResultFull:
		l.refuseHello(d, why, alertNotTLS)
	default:
		return false
	}
	return true
}

// peekHello looks whether the whole ClientHello is there, or something else is:
// then why is not ResultFull. What a hello says is left to crypto/tls to judge.
func peekHello(data []byte) (hello clienthello.Hello, why secure.Result, whole bool) {
	if data[0] >= 'A' && data[0] <= 'Z' {
		return hello, secure.ResultPlain, false // a method
	}
	peeked, _ := clienthello.Peek(data, nil)
	if peeked.Status == clienthello.NeedMore {
		return hello, secure.ResultFull, false
	}
	switch peeked.Reason {
	case clienthello.NotTLS, clienthello.BadRecord, clienthello.NotClientHello:
		return hello, secure.ResultNotTLS, false
	case clienthello.TooLarge:
		return hello, secure.ResultHelloTooLarge, false
	}
	return peeked.Hello, secure.ResultFull, true
}

// beginShake starts the handshake whose ClientHello stands in data.
func (l *Loop) beginShake(d *downstream, data []byte, hello *clienthello.Hello) {
	k := d.link
	if l.overloaded() || !l.admitShake(k) {
		l.refuseHello(d, secure.ResultRefused, alertRefused)
		return
	}
	l.look()
	if d.tls = d.socket.listener.TLS; d.tls == nil { // any more
		l.refuseHello(d, secure.ResultRefused, alertRefused)
		return
	}
	server := l.server(d.socket)
	conn := server.Conn()
	conn.Feed(data)
	own := len(data) <= ownHello && l.shaker.doesOwn(l.now) && server.Short(string(hello.ServerName), hello.Groups, hello.KeyShares)
	k.in.release(&l.buffers)
	l.shaker.begin(k, conn, own)
}

// refuseHello ends a connection before its handshake.
func (l *Loop) refuseHello(d *downstream, why secure.Result, answer string) {
	l.countHandshake(d.link, why)
	l.sendWire(d.link, []byte(answer))
	d.refused = true
	l.closeDownAfter(d)
}

// shakenDown goes on when the handshake with a client is over.
func (l *Loop) shakenDown(d *downstream, conn *secure.Conn) {
	if conn.Failed() != nil {
		d.refused = true // what may still come is not read
		l.closeDownAfter(d)
		return
	}
	d.begin()
	d.certificate = conn.Certificate()
	d.phase, d.since = phaseHead, l.now
	if conn.State().NegotiatedProtocol == secure.HTTP2 {
		l.beginMux(d)
	}
	l.wheel.arm(d.link, d.deadline())
	l.makeReady(d.link) // others have their turns between this and what it has sent already
}
