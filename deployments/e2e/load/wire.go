package load

import (
	"bytes"
	"hash/crc32"
	"io"
	"net"
	"strconv"
)

const (
	bufferSize = 32 << 10
	// maxHead bounds a head; it must fit into the buffer.
	maxHead = 16 << 10
)

// wire reads HTTP/1.1 messages from a connection. It is strict where a mistake
// of the other side must show, and knows no more than the two ends here need.
type wire struct {
	conn net.Conn
	buf  []byte
	r, w int // what is in buf and was not taken
}

func newWire(c net.Conn, buf []byte) *wire { return &wire{conn: c, buf: buf} }

// fill reads more. Before, what was taken is dropped.
func (c *wire) fill() error {
	if c.r > 0 {
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, c.w-c.r
	}
	n, err := c.conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

var headEnd = []byte("\r\n\r\n")

// head takes the next head, up to and without the empty line. The bytes die with
// the next call. An error is io.EOF only if nothing of a head came.
func (c *wire) head() ([]byte, error) {
	searched := 0
	for {
		if i := bytes.Index(c.buf[c.r+searched:c.w], headEnd); i >= 0 {
			i += searched
			head := c.buf[c.r : c.r+i+2] // every line with its end
			c.r += i + len(headEnd)
			return head, nil
		}
		searched = max(c.w-c.r-len(headEnd)+1, 0)
		if c.w-c.r >= maxHead {
			return nil, fail(Malformed, "head longer than 16 KiB")
		}
		if err := c.fill(); err != nil {
			if err == io.EOF && c.w > c.r { //nolint:errorlint // Read's own
				return nil, &failure{Truncated, io.ErrUnexpectedEOF}
			}
			return nil, err
		}
	}
}

// line cuts the first line off b.
func line(b []byte) (first, rest []byte) {
	i := bytes.Index(b, headEnd[:2])
	if i < 0 {
		return b, nil
	}
	return b[:i], b[i+2:]
}

// field cuts a field line into a name and a trimmed value.
func field(l []byte) (name, value []byte, ok bool) {
	i := bytes.IndexByte(l, ':')
	if i <= 0 || l[i-1] == ' ' || l[i-1] == '\t' {
		return nil, nil, false
	}
	return l[:i], bytes.Trim(l[i+1:], " \t"), true
}

// equalFold compares a field name with one in lower case.
func equalFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// framing is how a body ends.
type framing struct {
	length  int64 // -1: not given
	chunked bool
}

// take notes a field if it is about framing.
func (f *framing) take(name, value []byte) error {
	switch {
	case equalFold(name, "content-length"):
		n, err := strconv.ParseUint(string(value), 10, 62)
		if err != nil || f.length >= 0 {
			return fail(Malformed, "bad or repeated Content-Length")
		}
		f.length = int64(n)
	case equalFold(name, "transfer-encoding"):
		if string(value) != "chunked" || f.chunked {
			return fail(Malformed, "unknown Transfer-Encoding")
		}
		f.chunked = true
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum is what was received of a body.
type sum struct {
	length int64
	crc    uint32
}

func (s *sum) add(p []byte) {
	s.length += int64(len(p))
	s.crc = crc32.Update(s.crc, castagnoli, p)
}

// body takes a whole body. untilClose says what no framing means: a body that
// ends with the connection, or none. keep, if not nil, gets a copy of its begin.
func (c *wire) body(f framing, untilClose bool, s *sum, keep *[]byte) error {
	switch {
	case f.chunked && f.length >= 0:
		return fail(Malformed, "Content-Length and Transfer-Encoding")
	case f.chunked:
		return c.chunks(s, keep)
	case f.length >= 0:
		return c.exactly(f.length, s, keep)
	case !untilClose:
		return nil
	}
	for {
		c.take(c.w-c.r, s, keep)
		if err := c.fill(); err == io.EOF { //nolint:errorlint // Read's own
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (c *wire) take(n int, s *sum, keep *[]byte) {
	p := c.buf[c.r : c.r+n]
	s.add(p)
	if keep != nil {
		*keep = append(*keep, p[:min(len(p), maxHead-min(len(*keep), maxHead))]...)
	}
	c.r += n
}

func (c *wire) exactly(n int64, s *sum, keep *[]byte) error {
	for {
		have := int(min(int64(c.w-c.r), n))
		c.take(have, s, keep)
		if n -= int64(have); n == 0 {
			return nil
		}
		if err := c.fill(); err != nil {
			return midway(err)
		}
	}
}

// midway turns an end within a message into its class.
func midway(err error) error {
	if err == io.EOF { //nolint:errorlint // Read's own
		return &failure{Truncated, io.ErrUnexpectedEOF}
	}
	return err
}

func (c *wire) chunks(s *sum, keep *[]byte) error {
	for {
		l, err := c.chunkLine()
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(l), 16, 62)
		if err != nil {
			return fail(Malformed, "bad chunk size")
		}
		if n == 0 {
			if l, err = c.chunkLine(); err == nil && len(l) > 0 {
				err = fail(Malformed, "unexpected trailer")
			}
			return err
		}
		if err := c.exactly(int64(n), s, keep); err != nil {
			return err
		}
		if l, err = c.chunkLine(); err != nil || len(l) > 0 {
			if err == nil {
				err = fail(Malformed, "chunk data not ended")
			}
			return err
		}
	}
}

// chunkLine takes a line. It dies with the next call.
func (c *wire) chunkLine() ([]byte, error) {
	for {
		if i := bytes.Index(c.buf[c.r:c.w], headEnd[:2]); i >= 0 {
			l := c.buf[c.r : c.r+i]
			c.r += i + 2
			return l, nil
		}
		if c.w-c.r > 256 {
			return nil, fail(Malformed, "endless chunk line")
		}
		if err := c.fill(); err != nil {
			return nil, midway(err)
		}
	}
}

// pattern is where bodies are cut from: any two offsets give different bodies,
// and a byte that is missing or twice shifts all that follows.
var pattern = func() []byte {
	p := make([]byte, patternSize)
	x := uint64(0x9e3779b97f4a7c15)
	for i := range p {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x >> 32)
	}
	return p
}()

const patternSize = 64<<10 + 4093

// bodyPart calls write with the pieces of the body of an id and a size.
func bodyPart(id uint64, size int, write func([]byte) error) error {
	at := int(id % patternSize)
	for size > 0 {
		p := pattern[at:min(at+size, patternSize)]
		if err := write(p); err != nil {
			return err
		}
		size -= len(p)
		at = 0
	}
	return nil
}

func bodySum(id uint64, size int) sum {
	var s sum
	_ = bodyPart(id, size, func(p []byte) error { s.add(p); return nil }) // cannot fail
	return s
}

// appendBody appends the body of an id and a size to b, and writes b whenever it
// has grown. What it returns is the rest.
func appendBody(conn net.Conn, b []byte, id uint64, size int, chunked bool) ([]byte, error) {
	const piece = 16 << 10
	err := bodyPart(id, size, func(p []byte) error {
		for len(p) > 0 {
			n := min(len(p), piece)
			if chunked {
				b = strconv.AppendInt(b, int64(n), 16)
				b = append(b, headEnd[:2]...)
			}
			b = append(b, p[:n]...)
			if chunked {
				b = append(b, headEnd[:2]...)
			}
			p = p[n:]
			if len(b) >= piece {
				if _, err := conn.Write(b); err != nil {
					return err
				}
				b = b[:0]
			}
		}
		return nil
	})
	if chunked {
		b = append(b, "0\r\n\r\n"...)
	}
	return b, err
}

// appendSum writes a sum as the two ends exchange it.
func appendSum(dst []byte, s sum) []byte {
	dst = strconv.AppendInt(dst, s.length, 10)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, uint64(s.crc), 16)
}
