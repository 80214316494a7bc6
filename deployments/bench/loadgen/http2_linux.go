package loadgen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Frames of HTTP/2 (RFC 9113 section 6), as far as a backend meets them.
const (
	frameHead = 9

	frameData         = 0
	frameHeaders      = 1
	frameSettings     = 4
	framePing         = 6
	frameWindowUpdate = 8

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4

	settingInitialWindow = 4
)

const (
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	// firstWindow is that of a connection and of each stream until the peer says
	// otherwise (RFC 9113 section 6.9.2).
	firstWindow = 65535
	// maxWaiting bounds what a connection keeps for want of window: no proxy has so
	// many streams.
	maxWaiting = 1 << 16
)

var errFrames = errors.New("frames that a proxy does not send")

// frames is a connection that speaks HTTP/2, as little of it as a proxy needs
// that asks for the same answer again and again: field blocks are not decoded,
// since the answer does not depend on them.
type frames struct {
	in      []byte // not consumed yet
	out     []byte // not sent yet
	begun   bool   // the preface came
	armed   bool   // waits until the socket takes more
	window  int    // of the connection
	waiting []uint32
}

// http2Answer is the head and the body of an answer; the numbers of its stream
// are filled in at two places.
func http2Answer(size int) (answer []byte, dateAt int) {
	// Literal fields without indexing, by the static table's names (RFC 7541
	// section 6.2.2): 31 content-type, 33 date, 28 content-length.
	block := []byte{0x88} // :status 200
	literal := func(index byte, value string) {
		block = append(block, 0x0f, index-15, byte(len(value)))
		block = append(block, value...)
	}
	literal(31, "text/plain")
	literal(33, time.Time{}.Format(dateFormat))
	dateAt = frameHead + len(block) - len(dateFormat)
	literal(28, strconv.Itoa(size))
	answer = appendFrame(nil, frameHeaders, flagEndHeaders, 0, block)
	return appendFrame(answer, frameData, flagEndStream, 0, []byte(strings.Repeat("x", size))), dateAt
}

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, payload...)
}

// serveFrames reads from a connection of HTTP/2 once and answers what came.
func (b *backend) serveFrames(fd int) {
	c := b.frames[fd]
	n, err := unix.Read(fd, b.in)
	if again(err) {
		b.flush(fd, c)
		return
	}
	if err != nil || n == 0 {
		b.close(fd)
		return
	}
	in := b.in[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, in...)
		in = c.in
	}
	rest, err := b.take(c, in)
	if err != nil {
		b.close(fd)
		return
	}
	c.in = append(c.in[:0], rest...)
	b.flush(fd, c)
}

// take consumes whole frames and appends what they ask for.
func (b *backend) take(c *frames, in []byte) (rest []byte, err error) {
	if !c.begun {
		if len(in) < len(preface) {
			return in, nil
		}
		if string(in[:len(preface)]) != preface {
			return nil, fmt.Errorf("%w: no preface", errFrames)
		}
		c.begun, in = true, in[len(preface):]
		c.out = appendFrame(c.out, frameSettings, 0, 0, nil)
	}
	for len(in) >= frameHead {
		size := int(in[0])<<16 | int(in[1])<<8 | int(in[2])
		if size > 1<<14 { // SETTINGS_MAX_FRAME_SIZE is at its default
			return nil, fmt.Errorf("%w: %d bytes", errFrames, size)
		}
		if len(in) < frameHead+size {
			break
		}
		kind, flags, stream := in[3], in[4], binary.BigEndian.Uint32(in[5:])
		if err := b.frame(c, kind, flags, stream, in[frameHead:frameHead+size]); err != nil {
			return nil, err
		}
		in = in[frameHead+size:]
	}
	return in, nil
}

func (b *backend) frame(c *frames, kind, flags byte, stream uint32, payload []byte) error {
	switch kind {
	case frameHeaders, frameData:
		if flags&flagEndStream != 0 {
			b.answerStream(c, stream)
		}
	case frameSettings:
		if flags&flagAck != 0 {
			return nil
		}
		for ; len(payload) >= 6; payload = payload[6:] {
			id, value := binary.BigEndian.Uint16(payload), binary.BigEndian.Uint32(payload[2:])
			if id == settingInitialWindow && int(value) < b.options.Size {
				return fmt.Errorf("%w: a window of %d for answers of %d bytes", errFrames, value, b.options.Size)
			}
		}
		c.out = appendFrame(c.out, frameSettings, flagAck, 0, nil)
	case framePing:
		if flags&flagAck == 0 {
			c.out = appendFrame(c.out, framePing, flagAck, 0, payload)
		}
	case frameWindowUpdate:
		if stream == 0 && len(payload) == 4 {
			c.window += int(binary.BigEndian.Uint32(payload))
			for len(c.waiting) > 0 && c.window >= b.options.Size {
				next := c.waiting[0]
				c.waiting = c.waiting[1:]
				b.appendAnswer(c, next)
			}
		}
	}
	return nil
}

// answerStream answers at once, or when the connection's window has room.
func (b *backend) answerStream(c *frames, stream uint32) {
	if len(c.waiting) > 0 || c.window < b.options.Size {
		if len(c.waiting) < maxWaiting {
			c.waiting = append(c.waiting, stream)
		}
		return
	}
	b.appendAnswer(c, stream)
}

func (b *backend) appendAnswer(c *frames, stream uint32) {
	b.requests++
	c.window -= b.options.Size
	at := len(c.out)
	c.out = append(c.out, b.answer...)
	binary.BigEndian.PutUint32(c.out[at+5:], stream)
	data := len(c.out) - b.options.Size - frameHead
	binary.BigEndian.PutUint32(c.out[data+5:], stream)
}

// flush sends what the socket takes; the rest goes when it takes more.
func (b *backend) flush(fd int, c *frames) {
	for len(c.out) > 0 {
		n, err := unix.Write(fd, c.out)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			b.close(fd)
			return
		}
		c.out = append(c.out[:0], c.out[n:]...)
	}
	if wait := len(c.out) > 0; wait != c.armed {
		c.armed = wait
		e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
		if wait {
			e.Events |= unix.EPOLLOUT
		}
		if unix.EpollCtl(b.epoll, unix.EPOLL_CTL_MOD, fd, &e) != nil {
			b.close(fd)
		}
	}
}
