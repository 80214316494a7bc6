package attack

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
)

// listener reads what the target says on a connection.
type listener struct {
	http2 bool
	// byReset: a reset stream is all that the target has to tell.
	byReset bool
	told    chan struct{} // closed when the target has said that it is over
	ended   chan struct{} // closed when no more is read
	left    atomic.Bool   // we end it

	// Owned by listen, until ended is closed.
	once     sync.Once
	heard    bool // something came
	closed   bool // by the target
	reset    bool // by a reset
	code     uint32
	hasCode  bool
	resets   map[uint32]int
	statuses map[int]int
}

// tell says that the target has had enough.
func (l *listener) tell() { l.once.Do(func() { close(l.told) }) }

// hasTold says whether it did.
func (l *listener) hasTold() bool {
	select {
	case <-l.told:
		return true
	default:
		return false
	}
}

// listen reads until the end.
func (l *listener) listen(c net.Conn) {
	defer close(l.ended)
	defer l.tell()
	l.resets, l.statuses = map[uint32]int{}, map[int]int{}
	r := bufio.NewReaderSize(hearing{c, &l.heard}, 16<<10)
	read := l.readAnswer
	if l.http2 {
		read = l.readFrame
	}
	for {
		err := read(r)
		if err == nil {
			continue
		}
		// Behind our own end it is for what was not read.
		l.reset = isReset(err) && !l.left.Load()
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) { // such as a record of TLS
			_, err = io.Copy(io.Discard, r)
		}
		// Our own end, and the end of patience, are not the target's.
		l.closed = !l.left.Load() && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded)
		return
	}
}

// hearing notes that something came.
type hearing struct {
	io.Reader
	heard *bool
}

func (h hearing) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	*h.heard = *h.heard || n > 0
	return n, err
}

// readFrame reads one frame of HTTP/2.
func (l *listener) readFrame(r *bufio.Reader) error {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	length := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	switch kind := head[3]; {
	case kind == frameReset && length == 4:
		var code [4]byte
		if _, err := io.ReadFull(r, code[:]); err != nil {
			return err
		}
		l.resets[binary.BigEndian.Uint32(code[:])]++
		if l.byReset {
			l.tell()
		}
		return nil
	case kind == frameGoAway && length >= 8:
		var fixed [8]byte
		if _, err := io.ReadFull(r, fixed[:]); err != nil {
			return err
		}
		l.code, l.hasCode = binary.BigEndian.Uint32(fixed[4:]), true
		l.tell()
		length -= 8
	}
	_, err := r.Discard(length)
	return err
}

// readAnswer reads one answer of HTTP/1.1.
func (l *listener) readAnswer(r *bufio.Reader) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	l.statuses[resp.StatusCode]++
	if resp.Close {
		l.tell()
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// add puts what was read into an outcome.
func (l *listener) add(o *Outcome) {
	if l.closed || l.hasCode {
		o.Ended++
	} else {
		o.Spared++
	}
	if l.hasCode {
		o.Codes[l.code]++
	}
	for code, n := range l.resets {
		o.Resets[code] += n
	}
	for status, n := range l.statuses {
		o.Statuses[status] += n
	}
}
