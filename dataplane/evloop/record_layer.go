//go:build linux

package evloop

import (
	"errors"
	"io"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"golang.org/x/sys/unix"
)

// cipherSize is the most that one read of a link with TLS takes from the socket. What it
// decrypts to, with a record that an earlier read left in part, fits into readBuf.
const cipherSize = readSize / 2

// maxUnasked is how many bytes may wait for a peer that makes us say more: it may
// ask for a new key with each record (RFC 8446 section 4.6.3), without reading,
// while reading from it is bounded by what waits for the other side alone.
const maxUnasked = 4 * highWater

// errDeaf ends the connection of a peer that does so.
var errDeaf = errors.New("tls: the peer asks for new keys and reads none")

// recordLayer is TLS on a link whose handshake is over. link.out holds what goes on
// the wire, so that what waits is counted alike with and without TLS; bytes are
// encrypted when they leave the stage.
type recordLayer struct {
	conn *secure.Conn
	// ahead: crypto/tls may have read bytes that fill has not seen.
	ahead bool
	// empty is the time of the turn in which the handshake ended with the socket read
	// empty: no edge can come within that turn, so there is nothing to read. What a client
	// has sent is read in a later one (shakenDown), so this spares reads of endpoints.
	empty int64
	// end is how the connection ended, for the next fill; readMore: it did not.
	end readState
	// told: the peer got our close_notify, or must not get one.
	told bool
}

// fillRecords is fill for a link with TLS. Whatever has come is decrypted: nothing
// is left in crypto/tls but part of a record.
func (l *Loop) fillRecords(k *link) (data []byte, n int, state readState) {
	rl := k.tls
	if rl.end != readMore {
		k.readable = false
		return k.in.bytes(), 0, rl.end
	}
	state = readMore
	if !rl.ahead {
		cipher, r, errno := l.receive(k, l.cipherBuf)
		switch {
		case errno == unix.EAGAIN:
			k.readable = false
			return k.in.bytes(), 0, readEmpty
		case errno != 0:
			k.readable, k.broken = false, true
			return k.in.bytes(), 0, readReset
		case r == 0:
			rl.conn.FeedEnd()
		case r < len(cipher) && !k.readHup:
			k.readable, state = false, readEmpty
		}
		rl.conn.Feed(cipher[:r])
	}
	if rl.ahead && rl.empty == l.now && !k.readHup {
		k.readable, state = false, readEmpty
	}
	rl.ahead = false
	n, err := rl.conn.Open(l.readBuf)
	if out := rl.conn.TakeOut(); len(out) > 0 {
		l.sendWire(k, out)
		if k.out.len() > maxUnasked {
			err = errDeaf
		}
	}
	if err != secure.ErrDrained { //nolint:errorlint // it comes as it is
		l.endRecords(k, err)
		state = readMore
		if n == 0 {
			k.readable, state = false, rl.end
		}
	}
	if k.in.len() > 0 {
		k.in.add(&l.buffers, l.readBuf[:n])
		return k.in.bytes(), n, state
	}
	return l.readBuf[:n], n, state
}

// endRead says that the peer's end has come with what was read last.
func (k *link) endRead() bool { return k.tls != nil && k.tls.end != readMore }

// endRecords notes that no more can be read. The end has its turn behind the
// bytes that came before it, so the link stays readable.
func (l *Loop) endRecords(k *link, err error) {
	k.readable, k.readHup = true, true
	k.tls.end = readEnd
	if err != io.EOF && err != io.ErrUnexpectedEOF { //nolint:errorlint // they come as they are
		k.tls.end, k.tls.told = readReset, true
		l.countHandshake(k, secure.ResultBadRecord)
	}
}

// truncated says that the connection ended without the peer saying so: what ends
// with it may have been cut by somebody else (RFC 8446 section 6.1).
func (k *link) truncated() bool { return k.tls != nil && !k.tls.conn.CloseNotified() }

// noCloseNotify is what the log says of that.
const noCloseNotify = "no_close_notify"

// seal encrypts one or two pieces and sends them.
func (l *Loop) seal(k *link, a, b []byte) {
	wire := l.sealed(k, l.wire[:0], a, b)
	l.wire = wire[:0]
	l.sendWire(k, wire)
}

// sealed appends the records of one or two pieces to wire.
func (l *Loop) sealed(k *link, wire, a, b []byte) []byte {
	for _, p := range [...][]byte{a, b} {
		if len(p) == 0 {
			continue
		}
		var err error
		if wire, err = k.tls.conn.Seal(wire, p); err != nil {
			// The peer's last bytes broke the connection, or said that they are: it is
			// ended when the link has its turn.
			l.writeFailed(k)
			break
		}
	}
	return wire
}

// sayGoodbye sends what is gathered and tells the peer, once, that nothing more
// comes: by one call, since most short connections end so.
func (l *Loop) sayGoodbye(k *link) { l.goodbye(k, 0) }

// sayLast is sayGoodbye where the caller ends the connection: one segment has all, with the end of our
// half, if the socket takes it. That end is told here, as a socket that is closed while bytes of its peer
// are unread throws away what it has not sent.
func (l *Loop) sayLast(k *link) {
	if l.goodbye(k, unix.MSG_MORE) && k.out.len() == 0 && !k.broken {
		unix.Shutdown(k.fd, unix.SHUT_WR)
	}
}

// goodbye says whether it has told the peer. flags are those of send(2).
func (l *Loop) goodbye(k *link, flags uintptr) bool {
	if k.tls == nil || k.tls.told || k.broken || k.closed {
		l.unstage(k)
		return false
	}
	k.tls.told = true
	wire := l.sealed(k, l.wire[:0], l.stage.take(k), nil)
	if !k.broken {
		wire = k.tls.conn.SealEnd(wire)
	}
	l.wire = wire[:0]
	l.sendWireWith(k, wire, flags)
	return true
}

// sendWire sends bytes as they are, behind those that wait.
func (l *Loop) sendWire(k *link, p []byte) { l.sendWireWith(k, p, 0) }

func (l *Loop) sendWireWith(k *link, p []byte, flags uintptr) {
	if k.out.len() == 0 && k.writable && len(p) > 0 {
		n, errno := sysSend(k.fd, p, flags)
		l.wrote(k, len(p), n, errno)
		p = p[n:]
	}
	if len(p) > 0 {
		k.out.add(&l.buffers, p)
	}
}
