package attack

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Attack is what one connection does.
type Attack struct {
	Name string
	// HTTP2: it begins with the preface and SETTINGS, and its end is told by frames.
	HTTP2 bool
	// OverTLS and Plain say by what it can be made; both by default.
	TLSOnly, PlainOnly bool
	// Open is sent first.
	Open []byte
	// Piece appends what is sent the n-th time, from 0, and says how many frames of
	// the attack that is. A piece of no frames ends the connection. Open alone is an
	// attack if there is no Piece.
	Piece func(dst []byte, n int) ([]byte, int)
	// Deaf: nothing is read of what comes.
	Deaf bool
	// Every is the time between pieces; 0: none.
	Every time.Duration
	// Shake begins each connection instead, where the attack is on the handshake.
	Shake func(ctx context.Context, c net.Conn) (frames int, err error)

	Want Want
}

// Want is what has to become of an attack.
type Want struct {
	// Ends: the target ends the connection.
	Ends bool
	// Code is that of GOAWAY; NoCode: there is none to come.
	Code uint32
	// Resets: it resets the stream, with the code Reset.
	Resets bool
	Reset  uint32
	// Status is that of an answer in HTTP/1.1; 0: none has to come.
	Status int
	// Counter is the series that counts it, and Ending the one that counts the
	// connections that are ended for it, by default the same.
	Counter, Ending string
	// Arrives: each frame brings a byte to an endpoint.
	Arrives bool
	// Work: what comes is work that somebody may want, and is done: it is not free of
	// charge for its sender, and need not be for the target.
	Work bool
}

// ErrUnanswered says that the target does not answer who opens a connection.
var ErrUnanswered = errors.New("no answer")

// NoCode is no error code of HTTP/2.
const NoCode = 1<<32 - 1

// Options bound a run.
type Options struct {
	// Dial opens a connection to the target, by TLS if the attack shall go so. It may fail
	// with ErrUnanswered.
	Dial func(ctx context.Context) (net.Conn, error)
	// Frames ends the run when so many are sent.
	Frames int64
	// Connections ends it when so many were opened; 0: Frames.
	Connections int64
	// Workers is how many connections are open at a time; default 2.
	Workers int
	// Rate is in frames per second; 0: as many as the target takes.
	Rate float64
	// Turns has it pause between them; the rate is that of the turns. nil: it goes on.
	Turns *Turns
	// Patience is how long a connection waits for its end when all is sent; default
	// 10 s.
	Patience time.Duration
}

// Outcome is what became of a run.
type Outcome struct {
	Frames, Connections int64
	// Ended are the connections that the target ended, Spared those that it did not
	// before all was sent, and Stalled those of which it read no more; Codes, Resets
	// and Statuses count what it told. Refused are those that it reset without a word:
	// each counts as a frame, where none could be sent on it. Unanswered are the attempts to open
	// one that it did not answer: each is a packet, and counts as a frame.
	Ended      int64
	Refused    int64
	Unanswered int64
	Spared     int64
	Stalled    int64
	Codes      map[uint32]int
	Resets     map[uint32]int
	Statuses   map[int]int
	Elapsed    time.Duration
}

// run is an attack under way.
type run struct {
	*Attack
	o       Options
	begin   time.Time
	frames  atomic.Int64
	opened  atomic.Int64
	mu      sync.Mutex
	outcome Outcome // guarded by mu
	failed  error   // guarded by mu
}

// Run makes an attack. It returns when all is sent, or ctx ends.
func (a *Attack) Run(ctx context.Context, o Options) (Outcome, error) {
	if o.Workers <= 0 {
		o.Workers = 2
	}
	if o.Connections <= 0 {
		o.Connections = o.Frames
	}
	if o.Patience <= 0 {
		o.Patience = 10 * time.Second
	}
	r := &run{Attack: a, o: o, begin: time.Now()}
	r.outcome = Outcome{Codes: map[uint32]int{}, Resets: map[uint32]int{}, Statuses: map[int]int{}}
	var wg sync.WaitGroup
	for range o.Workers {
		wg.Go(func() {
			for ctx.Err() == nil && r.frames.Load() < o.Frames && r.opened.Add(1) <= o.Connections {
				if err := r.connection(ctx); err != nil {
					r.mu.Lock()
					r.failed = errors.Join(r.failed, err)
					r.mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	r.outcome.Frames, r.outcome.Elapsed = r.frames.Load(), time.Since(r.begin)
	return r.outcome, r.failed
}

// connection makes one connection, to its end.
func (r *run) connection(ctx context.Context) error {
	if r.o.Turns != nil {
		r.o.Turns.wait(ctx, nil)
	}
	c, err := r.o.Dial(ctx)
	if errors.Is(err, ErrUnanswered) {
		r.opened.Add(-1)
		r.count(func(o *Outcome) { o.Unanswered++ })
		r.frames.Add(1)
		r.pace(ctx, nil)
		return nil
	}
	if isReset(err) {
		r.count(func(o *Outcome) { o.Connections++ })
		r.refused(ctx, 0)
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if r.Deaf {
		squeeze(c)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	r.count(func(o *Outcome) { o.Connections++ })
	if r.Shake != nil {
		n, err := r.Shake(ctx, c)
		if isReset(err) {
			r.refused(ctx, 0)
			return nil
		}
		r.frames.Add(int64(n))
		r.pace(ctx, nil)
		return err
	}
	l := &listener{http2: r.HTTP2, byReset: r.Want.Resets, ended: make(chan struct{}), told: make(chan struct{})}
	if !r.Deaf {
		go l.listen(c)
	}
	sent, stalled, reset := r.send(ctx, c, l)
	if stalled {
		r.count(func(o *Outcome) { o.Stalled++ })
	}
	if r.Every == 0 && !l.hasTold() {
		sleep(ctx, settle, l) // what was sent is still to be looked at
	}
	if r.Deaf {
		return nil
	}
	if !r.Want.Ends || r.Every == 0 && !l.hasTold() {
		l.left.Store(true)
		c.Close() // it had not enough to be ended
	}
	_ = c.SetReadDeadline(time.Now().Add(r.o.Patience))
	<-l.ended
	if r.Every == 0 && !l.heard && (reset || l.reset) { // else it is ended for its slowness
		r.refused(ctx, sent)
		return nil
	}
	r.count(l.add)
	return nil
}

// count changes the outcome.
func (r *run) count(change func(*Outcome)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.outcome)
}

// refused counts a connection that the target reset without a word, on which that many frames
// were sent.
func (r *run) refused(ctx context.Context, sent int64) {
	r.count(func(o *Outcome) { o.Refused++ })
	if sent == 0 {
		r.frames.Add(1)
		r.pace(ctx, nil)
	}
}

// isReset says that the target ended a connection without a word.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// squeeze has the kernel take little of what is not read.
func squeeze(c net.Conn) {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = t.NetConn()
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetReadBuffer(4 << 10)
		_ = t.SetWriteBuffer(16 << 10)
	}
}

// settle is how long a connection stays when all is sent, for the target to read it.
const settle = 300 * time.Millisecond

// batch is how many bytes are gathered for one write: so few that not much is
// counted as sent that the target never sees.
const batch = 2 << 10

// stall is how long a deaf attack waits for the target to read on.
const stall = 2 * time.Second

// send writes what the attack has, until the target tells that it has had enough, and says
// how many frames that was. stalled: of a deaf attack it reads no more; reset: it has reset
// the connection, which is told once, to who writes or to who reads.
func (r *run) send(ctx context.Context, c net.Conn, l *listener) (sent int64, stalled, reset bool) {
	buf := append([]byte(nil), r.Open...)
	frames := r.opening()
	if r.Piece == nil {
		_, err := c.Write(buf)
		sent = int64(max(frames, 1))
		r.frames.Add(sent)
		r.pace(ctx, l)
		return sent, false, isReset(err)
	}
	flush := func() bool {
		if r.Deaf {
			_ = c.SetWriteDeadline(time.Now().Add(stall))
		}
		if _, err := c.Write(buf); err != nil {
			stalled, reset = errors.Is(err, os.ErrDeadlineExceeded), isReset(err)
			return false
		}
		r.frames.Add(int64(frames))
		sent += int64(frames)
		buf, frames = buf[:0], 0
		r.pace(ctx, l)
		return ctx.Err() == nil && !l.hasTold()
	}
	for n := 0; r.frames.Load()+int64(frames) < r.o.Frames; n++ {
		var more int
		buf, more = r.Piece(buf, n)
		frames += more
		if len(buf) < batch && more > 0 && r.Every == 0 {
			continue
		}
		if !flush() || more == 0 {
			return sent, stalled, reset
		}
		if r.Every > 0 && !sleep(ctx, r.Every, l) {
			return sent, stalled, reset
		}
	}
	flush()
	return sent, stalled, reset
}

// opening is how many frames there are in Open, but for the SETTINGS that every client
// sends.
func (a *Attack) opening() (frames int) {
	rest, found := bytes.CutPrefix(a.Open, preface()[:magicLen])
	if !found {
		return 0
	}
	for len(rest) >= frameHeader {
		frames++
		rest = rest[min(frameHeader+int(rest[0])<<16|int(rest[1])<<8|int(rest[2]), len(rest)):]
	}
	return max(frames-1, 0)
}

// pace keeps the run below its rate, and within its turns.
func (r *run) pace(ctx context.Context, l *listener) {
	elapsed := time.Since(r.begin)
	if r.o.Turns != nil {
		elapsed = r.o.Turns.Elapsed()
	}
	if r.o.Rate > 0 {
		due := time.Duration(float64(r.frames.Load()) / r.o.Rate * float64(time.Second))
		sleep(ctx, due-elapsed, l)
	}
	if r.o.Turns != nil {
		r.o.Turns.wait(ctx, l)
	}
}

// sleep waits. False: it was told to stop.
func sleep(ctx context.Context, d time.Duration, l *listener) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	var told, ended chan struct{}
	if l != nil {
		told, ended = l.told, l.ended
	}
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-told:
	case <-ended:
	}
	return false
}
