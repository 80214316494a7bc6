package load

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"strconv"
	"syscall"
	"time"
)

// The fields that the two ends exchange, in the order of a Backend's answer.
const (
	fieldID         = "x-load-id"         // of the request, repeated in the answer
	fieldBackend    = "x-load-backend"    // who answers
	fieldConnection = "x-load-connection" // number of the connection there
	fieldReceived   = "x-load-received"   // size and checksum of the request's body
	fieldSent       = "x-load-sent"       // size and checksum of the answer's body
)

// answer is what is known of an answer when its head was read; the slices are
// copies.
type answer struct {
	status     int
	framing    framing
	close      bool
	id         []byte
	echoIn     []byte // x-load-received
	echoOut    []byte // x-load-sent
	backend    uint64
	connection uint64
	counted    []byte
	received   int64
	body       []byte
}

func (a *answer) reset() {
	*a = answer{
		framing: framing{length: -1},
		id:      a.id[:0], echoIn: a.echoIn[:0], echoOut: a.echoOut[:0], body: a.body[:0],
	}
}

// client is one worker's end of things: a kept connection for each target.
type client struct {
	options *Options
	dialer  net.Dialer
	kept    []*wire // by target; nil: none
	buf     []byte  // of connections that are not kept
	out     []byte
	answer  answer
}

func newClient(o *Options) *client {
	return &client{
		options: o,
		kept:    make([]*wire, len(o.Targets)),
		buf:     make([]byte, bufferSize),
		out:     make([]byte, 0, 4<<10),
	}
}

func (c *client) close() {
	for _, w := range c.kept {
		if w != nil {
			w.conn.Close()
		}
	}
}

// do makes one request and fills o.
func (c *client) do(o *outcome) {
	t := &o.ticket
	o.sent = time.Now()
	deadline := o.sent.Add(c.options.Timeout)
	shape := &c.options.Shapes[t.shape]
	fresh := t.fresh || c.kept[t.target] == nil
	err := c.attempt(o, shape, deadline, fresh)
	if err != nil && !fresh && c.options.RetryClosed && shape.Body == 0 && lostIdle(err) {
		o.retried = true
		err = c.attempt(o, shape, deadline, true)
	}
	o.err = err
	o.ended = time.Now()
	o.answer = &c.answer
}

// lostIdle says that a kept connection ended before a byte of the answer came,
// which a server may let happen at any time between requests.
func lostIdle(err error) bool {
	class := classify(err)
	return class == Closed || class == Reset
}

// attempt makes the request on the kept connection or on a new one.
func (c *client) attempt(o *outcome, shape *Shape, deadline time.Time, fresh bool) error {
	t := &o.ticket
	var w *wire
	if fresh {
		conn, err := c.dial(o.target, deadline)
		if err != nil {
			return err
		}
		o.opened++
		buf := c.buf
		if !t.fresh {
			buf = make([]byte, bufferSize)
		}
		w = newWire(conn, buf)
	} else {
		w = c.kept[t.target]
	}
	if err := w.conn.SetDeadline(deadline); err != nil {
		return err
	}
	err := c.exchange(w, o, shape)
	if !t.fresh {
		o.lost = o.lost || c.answer.close || err != nil && endedByServer(err)
	}
	c.put(w, t, err == nil && !c.answer.close && !t.fresh)
	return err
}

func endedByServer(err error) bool {
	switch classify(err) {
	case Closed, Reset, Truncated:
		return true
	}
	return false
}

// put keeps a connection or closes it.
func (c *client) put(w *wire, t *ticket, keep bool) {
	if keep {
		c.kept[t.target] = w
		return
	}
	w.conn.Close()
	if c.kept[t.target] == w {
		c.kept[t.target] = nil
	}
}

func (c *client) dial(target string, deadline time.Time) (net.Conn, error) {
	c.dialer.Deadline = deadline
	return c.dialer.Dial("tcp", target)
}

func (c *client) exchange(w *wire, o *outcome, shape *Shape) error {
	a := &c.answer
	a.reset()
	// A server may answer, and stop reading, before it has the whole request; then
	// what it said is worth more than that we could not send.
	sendErr := c.send(w.conn, o, shape)
	if sendErr != nil && !errors.Is(sendErr, syscall.EPIPE) && !errors.Is(sendErr, syscall.ECONNRESET) {
		return sendErr
	}
	if err := c.receiveHead(w, shape); err != nil {
		if sendErr != nil {
			return sendErr
		}
		return err
	}
	var s sum
	var keep *[]byte
	if shape.Foreign && shape.Want != "" {
		keep = &a.body
	}
	f, untilClose := a.framing, true
	if shape.Method == "HEAD" || a.status == 204 || a.status == 304 {
		f, untilClose = framing{length: -1}, false
	}
	if untilClose && f.length < 0 && !f.chunked {
		a.close = true
	}
	if err := w.body(f, untilClose, &s, keep); err != nil {
		return midway(err)
	}
	a.received = s.length
	if w.w > w.r {
		return fail(Malformed, "bytes behind the answer")
	}
	return c.check(o.ticket.id, shape, s)
}

// send writes the request. Small bodies go out in one write with the head.
func (c *client) send(conn net.Conn, o *outcome, shape *Shape) error {
	b := append(c.out[:0], shape.Method...)
	b = append(b, ' ')
	b = appendTarget(b, shape)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	if shape.Host != "" {
		b = append(b, shape.Host...)
	} else {
		b = append(b, o.target...)
	}
	b = append(b, "\r\nX-Load-Id: "...)
	b = strconv.AppendUint(b, o.ticket.id, 10)
	for _, h := range shape.Headers {
		b = append(b, "\r\n"...)
		b = append(b, h[0]...)
		b = append(b, ": "...)
		b = append(b, h[1]...)
	}
	if o.ticket.fresh {
		b = append(b, "\r\nConnection: close"...)
	}
	switch {
	case shape.Body > 0 && shape.Chunked:
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	case shape.Body > 0:
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(shape.Body), 10)
	}
	b = append(b, headEnd...)
	written := len(b)
	var err error
	if shape.Body > 0 {
		written += shape.Body
		b, err = appendBody(conn, b, o.ticket.id, shape.Body, shape.Chunked)
	}
	if err == nil {
		_, err = conn.Write(b)
	}
	o.bytesOut += written
	c.out = b[:0]
	return err
}

// appendTarget writes path and query, with what a Backend is asked for.
func appendTarget(b []byte, s *Shape) []byte {
	b = append(b, s.Path...)
	if s.Foreign || s.Answer == 0 && !s.AnswerChunked {
		return b
	}
	separator := byte('?')
	if bytes.IndexByte([]byte(s.Path), '?') >= 0 {
		separator = '&'
	}
	b = append(b, separator)
	b = append(b, querySize...)
	b = strconv.AppendInt(b, int64(s.Answer), 10)
	if s.AnswerChunked {
		b = append(b, '&')
		b = append(b, queryChunked...)
	}
	return b
}

// receiveHead reads the head of the answer, past interim ones.
func (c *client) receiveHead(w *wire, shape *Shape) error {
	for {
		head, err := w.head()
		if err != nil {
			return err
		}
		a := &c.answer
		if err := c.parse(head, a); err != nil {
			return err
		}
		if a.status >= 200 || a.status == 101 {
			if a.status != shape.Status {
				return fail(Wrong, fmt.Sprintf("status %d, want %d", a.status, shape.Status))
			}
			return nil
		}
		a.reset()
	}
}

func (c *client) parse(head []byte, a *answer) error {
	first, rest := line(head)
	if len(first) < 12 || string(first[:7]) != "HTTP/1." || first[8] != ' ' {
		return fail(Malformed, fmt.Sprintf("status line %q", first))
	}
	status, err := strconv.Atoi(string(first[9:12]))
	if err != nil || status < 100 || status > 599 {
		return fail(Malformed, fmt.Sprintf("status line %q", first))
	}
	a.status = status
	a.close = first[7] == '0'
	for len(rest) > 0 {
		var l []byte
		l, rest = line(rest)
		name, value, ok := field(l)
		if !ok {
			return fail(Malformed, fmt.Sprintf("field line %q", l))
		}
		if err := c.take(a, name, value); err != nil {
			return err
		}
	}
	return nil
}

// take notes what matters of a field.
func (c *client) take(a *answer, name, value []byte) error {
	if len(name) > 7 && equalFold(name[:7], "x-load-") {
		switch {
		case equalFold(name, fieldID):
			a.id = append(a.id[:0], value...)
		case equalFold(name, fieldReceived):
			a.echoIn = append(a.echoIn[:0], value...)
		case equalFold(name, fieldSent):
			a.echoOut = append(a.echoOut[:0], value...)
		case equalFold(name, fieldBackend):
			a.backend = uint64(crc32.Checksum(value, castagnoli))
		case equalFold(name, fieldConnection):
			a.connection, _ = strconv.ParseUint(string(value), 10, 64)
		}
	}
	if equalFold(name, "connection") && equalFold(value, "close") {
		a.close = true
	}
	if c.options.CountHeader != "" && len(name) == len(c.options.CountHeader) &&
		bytes.EqualFold(name, []byte(c.options.CountHeader)) {
		a.counted = append([]byte{}, value...)
	}
	return a.framing.take(name, value)
}

// check compares the answer with what it should be.
func (c *client) check(id uint64, shape *Shape, s sum) error {
	a := &c.answer
	if shape.Foreign {
		if shape.Want != "" && string(a.body) != shape.Want {
			return fail(Wrong, fmt.Sprintf("body %.40q, want %.40q", a.body, shape.Want))
		}
		return nil
	}
	var want [40]byte
	if expected := strconv.AppendUint(want[:0], id, 10); !bytes.Equal(a.id, expected) {
		return fail(Wrong, fmt.Sprintf("the answer to request %.20q, want %s", a.id, expected))
	}
	if expected := appendSum(want[:0], bodySum(id, shape.Body)); !bytes.Equal(a.echoIn, expected) {
		return fail(Wrong, fmt.Sprintf("the backend received a body of %.40q, want %s", a.echoIn, expected))
	}
	if shape.Method == "HEAD" {
		return nil
	}
	if expected := appendSum(want[:0], s); !bytes.Equal(a.echoOut, expected) || s.length != int64(shape.Answer) {
		return fail(Wrong, fmt.Sprintf("a body of %s, the backend sent %.40q, asked for %d", expected, a.echoOut, shape.Answer))
	}
	return nil
}
