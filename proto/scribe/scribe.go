// Package scribe writes what a process says of itself, and nobody who says something waits for
// that.
//
// Whoever reads standard error may stop: a journal whose disk is full, a terminal that is paused,
// a pipe to a process that hangs. What writes there by itself stands still then, and with it all
// that logs beside it, as a handler of package slog has one lock. So lines are taken into a queue,
// and one goroutine writes them. What finds no room, or cannot be written, is left out and
// counted; the count is told in a line of its own as soon as one can be written.
package scribe

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// maxWaiting bounds what waits to be written, in bytes: some thousand lines, more than is
	// said at once where somebody reads. One that is longer is taken where nothing else waits.
	maxWaiting = 1 << 20
	// lastLines is how long the end of a process waits for what it said last.
	lastLines = 200 * time.Millisecond
)

// Writer is an io.Writer for lines, each one call. Any goroutine may write.
type Writer struct {
	// immutable
	to   io.Writer
	log  *slog.Logger  // writes to to
	news wakeup.Signal // there are lines, or it is closed
	done chan struct{}

	// guarded by mu
	mu      sync.Mutex
	lines   [][]byte
	waiting int // bytes of lines, and of those that are being written
	lost    uint64
	closed  bool
}

// Start begins to write to to, which the Writer alone writes to from here on. Close ends it.
func Start(to io.Writer) *Writer {
	w := &Writer{to: to, log: slog.New(slog.NewTextHandler(to, nil)), news: wakeup.NewSignal(), done: make(chan struct{})}
	go w.write()
	return w
}

// Lost is how many lines were left out since the beginning.
func (w *Writer) Lost() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lost
}

// Write implements io.Writer. It takes a line, or leaves it out, and never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.waiting > 0 && w.waiting+len(line) > maxWaiting {
		w.lost++
		return len(line), nil
	}
	w.lines = append(w.lines, bytes.Clone(line))
	w.waiting += len(line)
	w.news.Send()
	return len(line), nil
}

// write writes until all is written and the Writer is closed. Each line is a call: several
// processes may have one standard error, and longer pieces would be mixed there.
func (w *Writer) write() {
	defer close(w.done)
	told := uint64(0)
	for range w.news {
		w.mu.Lock()
		lines, closed := w.lines, w.closed
		w.lines = nil
		w.mu.Unlock()
		for _, line := range lines {
			_, err := w.to.Write(line)
			if lost := w.written(line, err); err == nil && lost != told {
				w.log.Warn("messages were left out, since they could not be written", "lines", lost-told)
				told = lost
			}
		}
		if closed {
			return
		}
	}
}

// written takes note of a line that was written, or, as when the disk is full, was not, and says
// how many were left out.
func (w *Writer) written(line []byte, err error) (lost uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting -= len(line)
	if err != nil {
		w.lost++
	}
	return w.lost
}

// Close waits for a while until all is written. What comes later is left out.
func (w *Writer) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.news.Send()
	timer := time.NewTimer(lastLines)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}
