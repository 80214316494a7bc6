package agent

import (
	"bytes"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

const (
	// maxLines bounds what waits to be written, and lastLines how long the end of the process
	// waits for that.
	maxLines  = 256
	lastLines = 200 * time.Millisecond
)

// scribe writes what an agent says, and nobody waits for it: whoever reads that may stop, as
// when his disk is full, and who waits for him lets go of virtual IPs. Lines that find no room
// are left out, and counted.
type scribe struct {
	to    io.Writer
	lines chan []byte
	out   atomic.Uint64 // left out, and not told yet
	done  chan struct{}
}

// newScribe begins to write. close ends it; nothing is written behind that.
func newScribe(to io.Writer) *scribe {
	s := &scribe{to: to, lines: make(chan []byte, maxLines), done: make(chan struct{})}
	go s.write()
	return s
}

// Write implements io.Writer. It takes a line, or leaves it out.
func (s *scribe) Write(line []byte) (int, error) {
	select {
	case s.lines <- bytes.Clone(line):
	default:
		s.out.Add(1)
	}
	return len(line), nil
}

func (s *scribe) write() {
	defer close(s.done)
	for line := range s.lines {
		if line == nil {
			return
		}
		_, _ = s.to.Write(line)
		if n := s.out.Swap(0); n > 0 {
			_, _ = fmt.Fprintf(s.to, "level=WARN msg=\"vip-agent: lines were left out, as nobody read them\" lines=%d\n", n)
		}
	}
}

// close waits for a while until all is written.
func (s *scribe) close() {
	timer := time.NewTimer(lastLines)
	defer timer.Stop()
	select {
	case s.lines <- nil:
	case <-timer.C:
		return
	}
	select {
	case <-s.done:
	case <-timer.C:
	}
}
