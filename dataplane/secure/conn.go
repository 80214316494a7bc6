package secure

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// ErrDrained says that all bytes that were fed have been read: nothing comes
// before more are.
var ErrDrained = os.ErrDeadlineExceeded

// errAborted ends a handshake that nobody waits for.
var errAborted = errors.New("tls: the handshake was given up")

// Conn is one TLS connection without a descriptor: bytes from the peer are fed,
// bytes for the peer are taken. It has one owner at a time. That is the caller,
// but during Handshake it is who runs that, except while wait runs.
type Conn struct {
	tls    *tls.Conn
	memory memory
	frames frames // of the peer
	// counted: crypto/tls has nothing but the records that frames has counted.
	counted bool
	// shake is nil when no handshake is under way.
	shake *shake
	// failed is how the handshake ended.
	failed error
	// forward: the peer's certificate is for the endpoint.
	forward bool
	// givenUp: nobody waits for the handshake. Anybody may say and see so.
	givenUp atomic.Bool
}

// shake is what only a handshake needs.
type shake struct {
	wait func() // nil: it has not begun
	buf  []byte // memory of what is fed
}

// newConn makes a connection; configure makes its crypto/tls.
func newConn(server bool, config *tls.Config) *Conn {
	c := &Conn{shake: new(shake)}
	c.memory.conn = c
	if server {
		c.tls = tls.Server(&c.memory, config)
	} else {
		c.tls = tls.Client(&c.memory, config)
	}
	return c
}

// Handshake shakes hands, and returns when that is over. It calls wait where it needs bytes
// of the peer. Until wait returns the connection is the caller's again, who takes what is to
// be sent, and feeds what comes.
func (c *Conn) Handshake(wait func()) {
	c.shake.wait = wait
	err := errAborted
	if !c.givenUp.Load() { // before it began
		err = c.tls.Handshake()
	}
	c.failed = err
	c.shake = nil
}

// Waiting says that the handshake has begun and is not over: it needs bytes from the peer.
func (c *Conn) Waiting() bool { return c.shake != nil && c.shake.wait != nil }

// GiveUp says that nobody waits for the handshake any more, whoever has the
// connection: it computes no more once it has to wait, or before it has begun.
func (c *Conn) GiveUp() { c.givenUp.Store(true) }

// Failed is why the handshake failed, after its last report; nil: it did not.
func (c *Conn) Failed() error { return c.failed }

// Feed gives bytes from the peer. During a handshake they are copied, else they
// must stay as they are until Open has returned.
func (c *Conn) Feed(p []byte) {
	c.frames.feed(p)
	if s := c.shake; s != nil {
		if len(c.memory.in) == 0 {
			s.buf = s.buf[:0]
		}
		s.buf = append(s.buf, p...)
		c.memory.in = s.buf[len(s.buf)-len(c.memory.in)-len(p):]
		return
	}
	c.memory.in = p
}

// FeedEnd says that no more bytes come from the peer.
func (c *Conn) FeedEnd() { c.memory.eof = true }

// Open decrypts what was fed into p, which must have room for all of it and one
// record more. Besides ErrDrained it returns io.EOF at the end, and a record that
// is none as an error; each of them for ever.
func (c *Conn) Open(p []byte) (n int, err error) {
	for records := 1; n < len(p); records++ {
		m, err := c.tls.Read(p[n:])
		n += m
		if err != nil {
			c.frames.whole, c.counted = 0, true
			return n, err
		}
		// Each of these reads took one record or more, and left nothing of it.
		if c.counted && records >= c.frames.whole && n < len(p) && c.frames.between() && !c.memory.eof {
			c.frames.whole = 0
			return n, ErrDrained
		}
	}
	return n, nil
}

// CloseNotified says, after Open returned io.EOF, that the peer said so itself.
// Otherwise the connection was cut, perhaps by somebody else (RFC 8446 section
// 6.1).
func (c *Conn) CloseNotified() bool { return !c.memory.saidEOF }

// Seal appends the records of p to dst.
func (c *Conn) Seal(dst, p []byte) ([]byte, error) {
	m := &c.memory
	m.out = append(dst, m.out...)
	_, err := c.tls.Write(p)
	dst, m.out = m.out, nil
	return dst, err
}

// SealEnd appends a close_notify: nothing can be sealed after it.
func (c *Conn) SealEnd(dst []byte) []byte {
	m := &c.memory
	m.out = append(dst, m.out...)
	_ = c.tls.CloseWrite() // an error says that the peer was told already
	dst, m.out = m.out, nil
	return dst
}

// TakeOut gives what reading or the handshake wants sent. The caller owns it.
func (c *Conn) TakeOut() []byte {
	out := c.memory.out
	c.memory.out = nil
	return out
}

// State is what was agreed on.
func (c *Conn) State() tls.ConnectionState { return c.tls.ConnectionState() }

// Certificate is the value of Client-Cert with which the client's certificate goes
// to endpoints; nil: it showed none, or it does not go there.
func (c *Conn) Certificate() []byte {
	if !c.forward {
		return nil
	}
	shown := c.State().PeerCertificates
	if len(shown) == 0 {
		return nil
	}
	return AppendField(nil, shown[0].Raw)
}

// memory is the net.Conn under a tls.Conn. Nothing here blocks but a Read during
// a handshake. crypto/tls takes a Read that timed out for one that may be made
// again, and calls nothing of it concurrently.
type memory struct {
	conn    *Conn
	in, out []byte
	eof     bool
	saidEOF bool // crypto/tls was told
}

func (m *memory) Read(p []byte) (int, error) {
	for len(m.in) == 0 {
		if m.eof {
			m.saidEOF = true
			return 0, io.EOF
		}
		s := m.conn.shake
		if s == nil {
			return 0, ErrDrained
		}
		if s.wait(); m.conn.givenUp.Load() {
			return 0, errAborted
		}
	}
	n := copy(p, m.in)
	if m.in = m.in[n:]; len(m.in) == 0 {
		m.in = nil // it holds the memory of what was read else
	}
	return n, nil
}

func (m *memory) Write(p []byte) (int, error) {
	m.out = append(m.out, p...)
	return len(p), nil
}

func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return nowhere{} }
func (m *memory) RemoteAddr() net.Addr             { return nowhere{} }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// nowhere is the address of both ends.
type nowhere struct{}

func (nowhere) Network() string { return "memory" }
func (nowhere) String() string  { return "memory" }
