package loadgen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// maxDue is how many requests may be due and wait for a connection; more fail.
	maxDue = 1 << 16
	// never is later than any run.
	never = time.Duration(1<<63 - 1)
)

// conn is a connection and the request that is under way on it.
type conn struct {
	fd   int
	tls  *tls.Conn // nil: in plaintext
	busy bool
	due  time.Duration // of the request under way
	// need is how much of the answer is still to come; 0: its head is not whole.
	need    int
	partial []byte // of a head
}

// client is one thread that owns everything. Times count from its start.
type client struct {
	options Options
	start   time.Time
	random  *rand.Rand
	epoll   int
	conns   []conn
	free    ring[int32]
	waiting ring[time.Duration]
	in      []byte

	next  time.Duration // when the next request is due
	busy  int
	ended bool // no request is issued any more

	latency, late Histogram
	result        Result
}

// Run sends what o says. An error is one of the options or of the machine; what
// goes wrong with requests stands in the result.
func Run(o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	// The thread's timers are set to fire on time, and it is not given back.
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // 50 µs late if it fails

	c := &client{
		options: o,
		random:  rand.New(rand.NewPCG(o.Seed, 0xbe4c)),
		conns:   make([]conn, o.Connections),
		free:    newRing[int32](o.Connections),
		waiting: newRing[time.Duration](maxDue),
		in:      make([]byte, readSize),
		result:  Result{Failures: map[string]uint64{}},
	}
	var err error
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	defer unix.Close(c.epoll)
	defer c.closeAll()
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	for i := range c.conns {
		if err := c.connect(int32(i)); err != nil {
			return nil, fmt.Errorf("load: connection %d to %s: %w", i+1, o.Target, err)
		}
		c.free.push(int32(i))
	}
	c.start = time.Now()
	if err := c.run(); err != nil {
		return nil, err
	}
	return c.finish(), nil
}

func (c *client) now() time.Duration { return time.Since(c.start) }

func (c *client) closeAll() {
	for i := range c.conns {
		if c.conns[i].fd >= 0 {
			unix.Close(c.conns[i].fd)
		}
	}
}

// connect opens connection i, or opens it again.
func (c *client) connect(i int32) error {
	k := &c.conns[i]
	if k.fd >= 0 {
		unix.Close(k.fd)
		k.fd = -1
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	k.fd, k.tls, k.need, k.partial = fd, nil, 0, k.partial[:0]
	for {
		err = unix.Connect(fd, sockaddr(c.options.Target))
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if c.options.TLS {
		if k.tls, err = handshake(fd, ClientTLS(protocolHTTP1)); err != nil {
			return err
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: i})
}

func (c *client) run() error {
	events := make([]unix.EpollEvent, turn)
	if c.options.Rate > 0 {
		c.next = c.gap()
	}
	for {
		now := c.now()
		c.issue(now)
		if c.ended && c.busy == 0 && c.waiting.len() == 0 || now >= c.options.Duration+c.options.Timeout {
			return nil
		}
		n, err := c.wait(events)
		if err != nil {
			return fmt.Errorf("load: wait: %w", err)
		}
		for i := range events[:n] {
			if err := c.receive(events[i].Fd); err != nil {
				return err
			}
		}
	}
}

// gap is the time to the next request.
func (c *client) gap() time.Duration {
	return time.Duration(float64(time.Second) / c.options.Rate * c.random.ExpFloat64())
}

// issue sends what is due.
func (c *client) issue(now time.Duration) {
	if c.ended {
		return
	}
	if c.options.Rate == 0 { // all at once; answers bring the next
		for c.free.len() > 0 {
			c.send(c.free.pop(), now)
		}
	}
	for c.options.Rate > 0 && c.next <= now && c.next < c.options.Duration {
		switch due := c.next; {
		case c.free.len() > 0:
			if due >= c.options.Warmup {
				c.late.Add(c.now() - due)
			}
			c.send(c.free.pop(), due)
		case c.waiting.len() < maxDue:
			c.result.Waited++
			c.waiting.push(due)
		default:
			c.fail("overrun", errors.New("too many requests wait for a connection"))
		}
		c.next += c.gap()
	}
	if now >= c.options.Duration || c.options.Rate > 0 && c.next >= c.options.Duration {
		c.ended, c.next = true, never
	}
}

// wait sleeps until a connection has something, or the next request is due.
// Milliseconds, in which epoll_wait counts, are too coarse.
func (c *client) wait(events []unix.EpollEvent) (int, error) {
	const longest = 100 * time.Millisecond // the end of a run is noticed by it
	until := longest
	if c.options.Rate > 0 {
		until = min(max(c.next-c.now(), 0), longest)
	}
	timeout := unix.NsecToTimespec(int64(until))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(c.epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, errno
}

func (c *client) send(i int32, due time.Duration) {
	k := &c.conns[i]
	k.busy, k.due = true, due
	c.busy++
	request := c.options.Requests[0]
	if n := len(c.options.Requests); n > 1 {
		request = c.options.Requests[c.random.IntN(n)]
	}
	// A socket whose last answer was read takes a request of some hundred bytes.
	if n, err := k.write(request); err != nil || n < len(request) {
		// The reading side says why, and opens it again.
		_ = unix.Shutdown(k.fd, unix.SHUT_RDWR)
	}
}

func (k *conn) write(b []byte) (int, error) {
	if k.tls != nil {
		return k.tls.Write(b)
	}
	return unix.Write(k.fd, b)
}

// read reads once. What TLS holds back is not seen by epoll: it is read until
// there is nothing.
func (k *conn) read(b []byte) (int, error) {
	if k.tls == nil {
		return unix.Read(k.fd, b)
	}
	n, err := k.tls.Read(b)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = unix.EAGAIN
	case errors.Is(err, io.EOF):
		err = nil
	}
	return n, err
}

// receive reads connection i until there is nothing more. An error is one of the
// machine.
func (c *client) receive(i int32) error {
	for {
		if more, err := c.receiveOnce(i); err != nil || !more {
			return err
		}
	}
}

func (c *client) receiveOnce(i int32) (more bool, err error) {
	k := &c.conns[i]
	n, err := k.read(c.in)
	if again(err) {
		return false, nil
	}
	if err == nil && n == 0 {
		err = errors.New("closed by the proxy")
	}
	if err == nil {
		var whole bool
		if whole, err = k.take(c.in[:n]); err == nil {
			if whole {
				return k.tls != nil && !c.options.Short, c.answered(i)
			}
			return k.tls != nil, nil
		}
	}
	if k.busy {
		c.fail(class(err), err)
		k.busy = false
		c.busy--
	} else {
		c.fail("idle", err)
		c.free.remove(i)
	}
	if err := c.connect(i); err != nil {
		return false, fmt.Errorf("load: connecting again: %w", err)
	}
	c.reuse(i)
	return false, nil
}

// again says that there was nothing to read, for now.
func again(err error) bool { return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) }

// take consumes what came; whole: the answer has ended.
func (k *conn) take(b []byte) (whole bool, err error) {
	if !k.busy {
		return false, fmt.Errorf("%w: %d bytes that nobody asked for", errMalformed, len(b))
	}
	if k.need == 0 {
		if len(k.partial) > 0 {
			k.partial = append(k.partial, b...)
			b = k.partial
		}
		length, err := answerHead(b)
		if err != nil {
			return false, err
		}
		if length == 0 {
			if len(k.partial) == 0 {
				k.partial = append(k.partial, b...)
			}
			return false, nil
		}
		k.need = length
		k.partial = k.partial[:0]
	}
	if len(b) > k.need {
		return false, fmt.Errorf("%w: %d bytes behind the answer", errMalformed, len(b)-k.need)
	}
	k.need -= len(b)
	return k.need == 0, nil
}

func (c *client) answered(i int32) error {
	k := &c.conns[i]
	c.result.Succeeded++
	if k.due >= c.options.Warmup {
		c.latency.Add(c.now() - k.due)
	}
	k.busy = false
	c.busy--
	if c.options.Short {
		if c.ended && c.waiting.len() == 0 {
			unix.Close(k.fd) // there is no next one
			k.fd = -1
			return nil
		}
		if err := c.connect(i); err != nil {
			return fmt.Errorf("load: the next connection: %w", err)
		}
	}
	c.reuse(i)
	return nil
}

// reuse gives a connection what waits, or puts it with the free ones.
func (c *client) reuse(i int32) {
	switch {
	case c.waiting.len() > 0:
		c.send(i, c.waiting.pop())
	case c.options.Rate == 0 && !c.ended:
		if now := c.now(); now < c.options.Duration {
			c.send(i, now)
		}
	default:
		c.free.push(i)
	}
}

func (c *client) fail(class string, err error) {
	c.result.Failed++
	c.result.Failures[class]++
	if c.result.FirstFailure == "" {
		c.result.FirstFailure = class + ": " + err.Error()
	}
}

func class(err error) string {
	switch {
	case errors.Is(err, errStatus):
		return "status"
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return "reset"
	}
	return "closed"
}

func (c *client) finish() *Result {
	r := &c.result
	for range c.busy + c.waiting.len() {
		c.fail("timeout", fmt.Errorf("no answer within %v after the end", c.options.Timeout))
	}
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	r.Measured = c.latency.Count()
	r.P50, r.P99, r.P999 = micros(c.latency.Quantile(0.50)), micros(c.latency.Quantile(0.99)), micros(c.latency.Quantile(0.999))
	r.Max, r.LateP99 = micros(c.latency.Max()), micros(c.late.Quantile(0.99))
	return r
}
