package accesslog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// Where Options.Path points elsewhere than to a file.
const (
	// Stdout needs a main that ignores SIGPIPE: else the end of whoever reads it
	// ends this process too.
	Stdout = "stdout"
	Off    = "off"
)

const (
	// bufferSize is how much a loop collects before it hands lines over: 300 or so
	// at 400 bytes each, so that a write is paid for once in as many requests.
	bufferSize = 128 << 10
	// lineRoom is the longest line: MaxField escaped in each of seven texts, and
	// 2 KiB for all else, names of resources included.
	lineRoom = 7*6*MaxField + 2<<10
	// queueLength bounds what waits for the writer to 2 MiB, which is a stall of
	// about 0.1 s at 50,000 requests a second.
	queueLength = 16
	// complainEvery keeps a full disk from filling the error log as well.
	complainEvery = time.Minute
)

// Options are the settings of a Log.
type Options struct {
	// Path is a file, Stdout or Off.
	Path string
	// MaxSize is where a file is rotated, in bytes; 0: never.
	MaxSize int64
	// Keep is how many rotated files stay (PATH.1 is the youngest); default 5.
	Keep int
	// Logger is told about destinations that refuse; default slog's default.
	Logger *slog.Logger
}

// Log is an access log. New opens it, Run writes it.
type Log struct {
	options Options
	off     bool

	queue chan *buffer
	free  chan *buffer
	asks  wakeup.Signal // the file is to be opened anew

	written atomic.Uint64
	refused atomic.Uint64 // lines that the destination did not take

	mu    sync.Mutex
	sinks []*Sink // guarded by mu

	// Of Run.
	out        io.Writer
	file       *os.File // nil for Stdout
	size       int64
	torn       bool // the destination ends in a part of a line
	complained time.Time
}

type buffer struct {
	bytes []byte
	lines uint64
}

// New opens the destination. Files are appended to, and made with mode 0640.
func New(o Options) (*Log, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Keep <= 0 {
		o.Keep = 5
	}
	l := &Log{
		options: o,
		queue:   make(chan *buffer, queueLength),
		free:    make(chan *buffer, queueLength),
		asks:    wakeup.NewSignal(),
	}
	switch o.Path {
	case Off:
		l.off = true
	case Stdout:
		l.out = os.Stdout
	default:
		f, err := open(o.Path)
		if err != nil {
			return nil, err
		}
		l.use(f)
	}
	return l, nil
}

func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// use makes f the destination.
func (l *Log) use(f *os.File) {
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			l.complain("access log not closed well", err)
		}
	}
	l.file, l.out, l.size, l.torn = f, f, 0, false
	if info, err := f.Stat(); err == nil {
		l.size = info.Size()
		l.torn = info.Mode().IsRegular() && endsTorn(f.Name(), l.size)
	}
}

// endsTorn says that a file ends in a part of a line: the disk was full, say, when who
// wrote it before ended. One that we may not read is taken for whole.
func endsTorn(path string, size int64) bool {
	if size == 0 {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var last [1]byte
	n, _ := f.ReadAt(last[:], size-1)
	return n == 1 && last[0] != '\n'
}

// Reopen has the file opened anew under its name, for programs that moved it away.
// If that fails the file at hand stays in use. Without a file it does nothing.
func (l *Log) Reopen() { l.asks.Send() }

// reopen is Reopen when Run comes to it. Not before: while a write is stuck the file
// may be moved again.
func (l *Log) reopen() {
	if l.file == nil {
		return
	}
	f, err := open(l.options.Path)
	if err != nil {
		l.options.Logger.Error("access log not opened anew", "error", err)
		return
	}
	l.use(f)
}

// Written is how many lines the destination took.
func (l *Log) Written() uint64 { return l.written.Load() }

// Dropped is how many lines were lost, because the queue was full or because the
// destination did not take them.
func (l *Log) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := l.refused.Load()
	for _, s := range l.sinks {
		sum += atomic.LoadUint64(&s.dropped)
	}
	return sum
}

// Run writes until ctx ends and then what is queued. So it is ended after the
// loops, to take in their last Flush; and main does not wait for it for ever,
// since it waits as long as the destination keeps it waiting.
func (l *Log) Run(ctx context.Context) error {
	if l.off {
		<-ctx.Done()
		return nil
	}
	defer func() {
		if l.file != nil {
			l.file.Close()
		}
	}()
	for {
		select {
		case b := <-l.queue:
			l.write(b)
		case <-l.asks:
			l.reopen()
		case <-ctx.Done():
			for {
				select {
				case b := <-l.queue:
					l.write(b)
				default:
					return nil
				}
			}
		}
	}
}

// write writes a buffer and gives it back.
func (l *Log) write(b *buffer) {
	if l.options.MaxSize > 0 && l.file != nil && l.size > 0 && l.size+int64(len(b.bytes)) > l.options.MaxSize {
		l.rotate()
	}
	if l.torn {
		// What follows must not be glued to a line that was cut.
		if _, err := l.out.Write([]byte{'\n'}); err == nil {
			l.torn = false
			l.size++
		}
	}
	if l.torn {
		l.refused.Add(b.lines)
	} else {
		n, err := l.out.Write(b.bytes)
		l.size += int64(n)
		lines := b.lines
		if err != nil {
			lines = uint64(bytes.Count(b.bytes[:n], []byte{'\n'}))
			l.torn = n > 0 && b.bytes[n-1] != '\n'
			l.complain("access log not written", err)
		}
		l.written.Add(lines)
		l.refused.Add(b.lines - lines)
	}
	b.bytes, b.lines = b.bytes[:0], 0
	select {
	case l.free <- b:
	default:
	}
}

// complain reports an error, unless one was reported lately.
func (l *Log) complain(text string, err error) {
	if now := time.Now(); now.Sub(l.complained) >= complainEvery {
		l.complained = now
		l.options.Logger.Error(text, "error", err, "dropped", l.Dropped())
	}
}

// rotate moves PATH to PATH.1, PATH.1 to PATH.2 and so on, and begins anew. If a
// step fails the file at hand goes on, and the next buffer tries again: then PATH
// may have been moved already, and the old ones must not be moved once more.
func (l *Log) rotate() {
	path := l.options.Path
	info, err := l.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		l.size = 0 // a pipe or a device: nothing to rotate
		return
	}
	if at, err := os.Stat(path); err == nil && os.SameFile(at, info) {
		if err := l.shift(); err != nil {
			l.complain("access log not rotated", err)
			return
		}
	}
	f, err := open(path)
	if err != nil {
		l.complain("access log not rotated", err)
		return
	}
	l.use(f)
}

// shift makes PATH free.
func (l *Log) shift() error {
	path := l.options.Path
	name := func(i int) string { return path + "." + strconv.Itoa(i) }
	for i := l.options.Keep - 1; i >= 1; i-- {
		if err := os.Rename(name(i), name(i+1)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return os.Rename(path, name(1))
}

// Sink makes the sink of one loop.
func (l *Log) Sink() *Sink {
	s := &Sink{log: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sinks = append(l.sinks, s)
	return s
}

// Sink takes the records of one loop. Only that loop may call Finish and Flush.
type Sink struct {
	_ [128]byte // the loop writes here all the time; keep others' lines away

	log     *Log
	buffer  *buffer
	clock   clock
	dropped uint64 // written by the loop, read by any

	_ [128]byte
}

// Finish appends the line of r.
func (s *Sink) Finish(r *exchange.Record) {
	if s.log.off {
		return
	}
	if s.buffer == nil {
		s.buffer = s.take()
	} else if len(s.buffer.bytes)+lineRoom > cap(s.buffer.bytes) && !s.hand() {
		atomic.StoreUint64(&s.dropped, s.dropped+1)
		return
	}
	s.buffer.bytes = appendLine(s.buffer.bytes, &s.clock, r)
	s.buffer.lines++
}

// Flush hands over what there is. If the queue is full it stays for the next
// time.
func (s *Sink) Flush() {
	if s.buffer == nil || len(s.buffer.bytes) == 0 {
		return
	}
	select {
	case s.log.queue <- s.buffer:
		s.buffer = nil
	default:
	}
}

// hand gives the buffer to the writer and takes another. It is false when the
// queue is full.
func (s *Sink) hand() bool {
	select {
	case s.log.queue <- s.buffer:
		s.buffer = s.take()
		return true
	default:
		return false
	}
}

func (s *Sink) take() *buffer {
	select {
	case b := <-s.log.free:
		return b
	default:
		return &buffer{bytes: make([]byte, 0, bufferSize+lineRoom)}
	}
}
