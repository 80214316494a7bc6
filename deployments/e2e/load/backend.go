package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What the query asks a Backend for.
const (
	querySize    = "size="
	queryChunked = "chunked=1"
)

// BackendOptions say how a Backend behaves.
type BackendOptions struct {
	// Name stands in x-load-backend; default: the address.
	Name string
	// MaxRequests closes a connection after so many; 0: never.
	MaxRequests int
	// Intercept, if not nil, may do something else than answer. It is called with
	// the number of each request, from 1, and returns true if it took over; then
	// the connection is closed after it.
	Intercept func(request uint64, conn net.Conn) bool
}

// Backend is a server that says of each answer whose it is. Besides size and
// chunked, the query may ask for status=CODE, delay=DURATION before the answer,
// close=1 (the connection is closed after it) and until=close (the body has no
// framing and ends with the connection).
type Backend struct {
	options  BackendOptions
	listener net.Listener

	opened, open, requests atomic.Uint64

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu; nil: closed
	done  sync.WaitGroup
}

// NewBackend begins to listen; address may have port 0. It serves until Close.
func NewBackend(ctx context.Context, address string, o BackendOptions) (*Backend, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("load backend: %w", err)
	}
	if o.Name == "" {
		o.Name = l.Addr().String()
	}
	b := &Backend{options: o, listener: l, conns: map[net.Conn]struct{}{}}
	b.done.Go(b.accept)
	return b, nil
}

// Addr is where it listens.
func (b *Backend) Addr() string { return b.listener.Addr().String() }

// Opened is how many connections were accepted, Open how many are, and Requests
// how many requests were answered.
func (b *Backend) Opened() uint64 { return b.opened.Load() }

// Open is described at Opened.
func (b *Backend) Open() uint64 { return b.open.Load() }

// Requests is described at Opened.
func (b *Backend) Requests() uint64 { return b.requests.Load() }

// Close closes the listener and every connection, and waits for them to end.
func (b *Backend) Close() {
	b.listener.Close()
	b.CloseConnections()
	b.mu.Lock()
	b.conns = nil
	b.mu.Unlock()
	b.CloseConnections()
	b.done.Wait()
}

// CloseConnections closes the connections that are open now.
func (b *Backend) CloseConnections() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.Close()
	}
}

func (b *Backend) accept() {
	for {
		c, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // of one connection, such as ECONNABORTED
		}
		b.mu.Lock()
		if b.conns == nil {
			b.mu.Unlock()
			c.Close()
			return
		}
		b.conns[c] = struct{}{}
		b.mu.Unlock()
		number := b.opened.Add(1)
		b.open.Add(1)
		b.done.Go(func() {
			b.serve(c, number)
			b.mu.Lock()
			delete(b.conns, c)
			b.mu.Unlock()
			b.open.Add(^uint64(0))
		})
	}
}

// request is what a Backend knows of a request.
type request struct {
	head, closeAfter, oldMinor bool
	framing                    framing
	id                         []byte
	size, status               int
	delay                      time.Duration
	chunked, untilClose        bool
}

func (b *Backend) serve(c net.Conn, number uint64) {
	defer c.Close()
	w := newWire(c, make([]byte, bufferSize))
	out := make([]byte, 0, 20<<10)
	for served := 1; ; served++ {
		head, err := w.head()
		if err != nil {
			return
		}
		n := b.requests.Add(1)
		if b.options.Intercept != nil && b.options.Intercept(n, c) {
			return
		}
		var r request
		if err := r.parse(head); err != nil {
			_, _ = fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%v", len(err.Error()), err)
			return
		}
		var s sum
		if err := w.body(r.framing, false, &s, nil); err != nil {
			return
		}
		if r.delay > 0 {
			time.Sleep(r.delay)
		}
		r.closeAfter = r.closeAfter || r.untilClose || served == b.options.MaxRequests
		out = b.appendHead(out[:0], &r, number, s)
		if out, err = appendAnswer(c, out, &r); err != nil {
			return
		}
		if _, err := c.Write(out); err != nil || r.closeAfter {
			closeWrite(c)
			return
		}
	}
}

// closeWrite ends our side and reads what the peer may still have sent, for a
// moment: closing at once would turn it into a reset that overtakes the answer.
func closeWrite(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok && t.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.CopyN(io.Discard, c, 1<<20)
	}
}

func (r *request) parse(head []byte) error {
	r.framing.length, r.status = -1, 200
	first, rest := line(head)
	parts := bytes.Split(first, []byte(" "))
	if len(parts) != 3 || !bytes.HasPrefix(parts[2], []byte("HTTP/1.")) {
		return fmt.Errorf("request line %.80q", first)
	}
	r.head = string(parts[0]) == "HEAD"
	r.oldMinor = string(parts[2]) == "HTTP/1.0"
	r.closeAfter = r.oldMinor
	for len(rest) > 0 {
		var l []byte
		l, rest = line(rest)
		name, value, ok := field(l)
		switch {
		case !ok:
			return fmt.Errorf("field line %.80q", l)
		case equalFold(name, fieldID):
			r.id = bytes.Clone(value)
		case equalFold(name, "connection"):
			r.closeAfter = r.closeAfter || equalFold(value, "close")
		}
		if err := r.framing.take(name, value); err != nil {
			return err
		}
	}
	_, query, _ := strings.Cut(string(parts[1]), "?")
	return r.query(query)
}

func (r *request) query(query string) error {
	if query == "" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return err
	}
	for name, into := range map[string]*int{"size": &r.size, "status": &r.status} {
		if v := values.Get(name); v != "" {
			if *into, err = strconv.Atoi(v); err != nil || *into < 0 {
				return fmt.Errorf("%s=%.20q", name, v)
			}
		}
	}
	if v := values.Get("delay"); v != "" {
		if r.delay, err = time.ParseDuration(v); err != nil {
			return err
		}
	}
	r.chunked = values.Get("chunked") == "1" && !r.oldMinor
	r.untilClose = values.Get("until") == "close"
	r.closeAfter = r.closeAfter || values.Get("close") == "1"
	return nil
}

// answerID tells apart the bodies of answers: not the id of the request, so that
// an echo is no answer.
func (r *request) answerID() uint64 {
	id, _ := strconv.ParseUint(string(r.id), 10, 64)
	return id*31 + 7
}

func (b *Backend) appendHead(out []byte, r *request, connection uint64, received sum) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(r.status), 10)
	out = append(out, " Load\r\nContent-Type: application/octet-stream\r\nX-Load-Id: "...)
	out = append(out, r.id...)
	out = append(out, "\r\nX-Load-Backend: "...)
	out = append(out, b.options.Name...)
	out = append(out, "\r\nX-Load-Connection: "...)
	out = strconv.AppendUint(out, connection, 10)
	out = append(out, "\r\nX-Load-Received: "...)
	out = appendSum(out, received)
	out = append(out, "\r\nX-Load-Sent: "...)
	out = appendSum(out, bodySum(r.answerID(), r.size))
	switch {
	case r.chunked:
		out = append(out, "\r\nTransfer-Encoding: chunked"...)
	case !r.untilClose && r.status != 204 && r.status != 304:
		out = append(out, "\r\nContent-Length: "...)
		out = strconv.AppendInt(out, int64(r.size), 10)
	}
	if r.closeAfter {
		out = append(out, "\r\nConnection: close"...)
	}
	return append(out, headEnd...)
}

// appendAnswer appends the body and writes whenever out has grown. What it
// returns is the rest.
func appendAnswer(c net.Conn, out []byte, r *request) ([]byte, error) {
	if r.head || r.status == 204 || r.status == 304 {
		return out, nil
	}
	return appendBody(c, out, r.answerID(), r.size, r.chunked)
}
