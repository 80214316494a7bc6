package loadgen

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Visit is what a visitor does again and again.
type Visit string

// The visits.
const (
	// Full is a connection and a whole handshake of TLS, without a request.
	Full Visit = "full"
	// Resumed is the same with the session of the connection before.
	Resumed Visit = "resumed"
	// Download asks for a long answer on a kept connection.
	Download Visit = "download"
	// Pipelined asks for the objects of a page, by HTTP/1.1 over TLS on a kept
	// connection, all at once.
	Pipelined Visit = "pipelined"
	// Multiplexed does the same by HTTP/2.
	Multiplexed Visit = "multiplexed"
)

// Visits are all of them.
func Visits() []Visit { return []Visit{Full, Resumed, Download, Pipelined, Multiplexed} }

// VisitOptions say who visits what.
type VisitOptions struct {
	Target  netip.AddrPort
	Visit   Visit
	Workers int
	// Host and Path are what Download and pages ask for.
	Host, Path string
	// Request is their text; made by RunVisits.
	Request []byte
	// TLS: Download goes by it.
	TLS bool
	// ServerName is asked for in handshakes.
	ServerName string
	// Control is read for commands, Out gets what they ask for.
	Control io.Reader
	Out     io.Writer
}

// maxWorkers is far above what saturates a proxy.
const maxWorkers = 1024

// visitors are workers, each with one connection at a time.
type visitors struct {
	options VisitOptions
	stop    chan struct{}
	// done counts visits that succeeded; of Download, bytes of bodies.
	done, failed atomic.Uint64

	mu      sync.Mutex // guards what follows
	first   string
	latency Histogram
}

// RunVisits makes visits, each worker one after another. The line "count" of
// o.Control asks for a line with the numbers of those that succeeded (of
// Download, of bytes that came) and failed; "end", or its end, ends them, and
// then a Result is written.
func RunVisits(o VisitOptions) error {
	if o.Workers < 1 || o.Workers > maxWorkers {
		return fmt.Errorf("visit: %d workers", o.Workers)
	}
	o.Request = Request(o.Host, o.Path)
	v := &visitors{options: o, stop: make(chan struct{})}
	work, err := v.worker()
	if err != nil {
		return err
	}
	var workers sync.WaitGroup
	for range o.Workers {
		workers.Go(work)
	}
	err = v.commands()
	close(v.stop)
	workers.Wait() // each visit is bounded by holdTimeout
	v.mu.Lock()
	r := Result{Succeeded: v.done.Load(), Failed: v.failed.Load(), FirstFailure: v.first, Measured: v.latency.Count()}
	micros := func(q float64) float64 { return float64(v.latency.Quantile(q)) / float64(time.Microsecond) }
	r.P50, r.P95, r.P99, r.P999 = micros(0.50), micros(0.95), micros(0.99), micros(0.999)
	v.mu.Unlock()
	return errors.Join(err, json.NewEncoder(o.Out).Encode(r))
}

func (v *visitors) commands() error {
	lines := bufio.NewScanner(v.options.Control)
	for lines.Scan() {
		switch line := lines.Text(); line {
		case "count":
			if _, err := fmt.Fprintln(v.options.Out, v.done.Load(), v.failed.Load()); err != nil {
				return err
			}
		case "end":
			return nil
		default:
			return fmt.Errorf("visit: command %.40q", line)
		}
	}
	return lines.Err()
}

// worker is what each worker does until the end.
func (v *visitors) worker() (func(), error) {
	switch v.options.Visit {
	case Full:
		return func() { v.repeat(func() error { return v.handshake(nil) }) }, nil
	case Resumed:
		return func() {
			session := tls.NewLRUClientSessionCache(1)
			if err := v.handshake(session); err != nil { // the session comes from it
				v.fail(err)
			}
			v.repeat(func() error { return v.handshake(session) })
		}, nil
	case Download:
		return v.downloads, nil
	case Pipelined:
		return func() {
			open, end := v.pipelined()
			defer end()
			v.pages(open)
		}, nil
	case Multiplexed:
		return func() {
			open, end := v.multiplexed()
			defer end()
			v.pages(open)
		}, nil
	}
	return nil, fmt.Errorf("visit: there is no visit %q", v.options.Visit)
}

func (v *visitors) stopped() bool {
	select {
	case <-v.stop:
		return true
	default:
		return false
	}
}

// failurePause keeps failures from being a load of their own.
const failurePause = 10 * time.Millisecond

func (v *visitors) fail(err error) {
	v.failed.Add(1)
	v.mu.Lock()
	if v.first == "" {
		v.first = err.Error()
	}
	v.mu.Unlock()
	timer := time.NewTimer(failurePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-v.stop:
	}
}

func (v *visitors) repeat(visit func() error) {
	for !v.stopped() {
		if err := visit(); err != nil {
			v.fail(err)
			continue
		}
		v.done.Add(1)
	}
}

func (v *visitors) dial() (net.Conn, error) {
	c, err := net.DialTimeout("tcp", v.options.Target.String(), holdTimeout)
	if err != nil {
		return nil, err
	}
	return c, c.SetDeadline(time.Now().Add(holdTimeout))
}

// ended waits for the proxy's end of a connection.
func ended(c io.Reader, buf []byte) error {
	n, err := c.Read(buf)
	switch {
	case n > 0:
		return fmt.Errorf("%w: %.64q where the connection should end", errMalformed, buf[:n])
	case errors.Is(err, io.EOF):
		return nil
	}
	return err
}

// handshake ends by close_notify on both sides: so everything that the proxy says
// has come, its session tickets too. With a session whose visit was not the first,
// it must be resumed.
func (v *visitors) handshake(session tls.ClientSessionCache) error {
	config := ClientTLS(protocolHTTP1)
	config.ServerName, config.ClientSessionCache = v.options.ServerName, session
	want := false
	if session != nil {
		_, want = session.Get(v.options.ServerName)
	}
	c, err := v.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	t := tls.Client(c, config)
	if err := t.Handshake(); err != nil {
		return err
	}
	if got := t.ConnectionState().DidResume; got != want {
		return fmt.Errorf("resumed: %t, want %t", got, want)
	}
	if err := t.CloseWrite(); err != nil {
		return err
	}
	var b [64]byte
	if err := ended(t, b[:]); err != nil {
		return err
	}
	if session != nil {
		if _, ok := session.Get(v.options.ServerName); !ok {
			return errors.New("no session ticket came")
		}
	}
	return nil
}

// downloads asks for one answer after another.
func (v *visitors) downloads() {
	for !v.stopped() {
		if err := v.download(); err != nil {
			v.fail(err)
		}
	}
}

// download keeps one connection until the end.
func (v *visitors) download() error {
	c, err := v.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	plain := c.(*net.TCPConn)
	if v.options.TLS {
		config := ClientTLS(protocolHTTP1)
		config.ServerName = v.options.ServerName
		c = tls.Client(plain, config)
	}
	buf := make([]byte, readAnswer)
	for !v.stopped() {
		if err := c.SetDeadline(time.Now().Add(holdTimeout)); err != nil {
			return err
		}
		if _, err := c.Write(v.options.Request); err != nil {
			return err
		}
		rest, err := v.answerBegins(c, buf)
		if err != nil {
			return err
		}
		for rest > 0 {
			n, err := v.discard(c, plain, buf[:min(rest, len(buf))], rest)
			if n == 0 && err != nil {
				return fmt.Errorf("%d bytes of a body are missing: %w", rest, err)
			}
			rest -= n
			v.done.Add(uint64(n))
			if v.stopped() { // an answer may be long
				return nil
			}
		}
	}
	return nil
}

// discard takes what came of a body. In plaintext the kernel need not copy it.
func (v *visitors) discard(c net.Conn, plain *net.TCPConn, buf []byte, rest int) (int, error) {
	if v.options.TLS {
		return c.Read(buf)
	}
	return drop(plain, rest)
}

// answerBegins reads a head and what came of the body with it; rest is how much
// of the body is still to come.
func (v *visitors) answerBegins(c net.Conn, buf []byte) (rest int, err error) {
	for n := 0; ; {
		if n == len(buf) {
			return 0, fmt.Errorf("%w: a head of more than %d bytes", errMalformed, len(buf))
		}
		m, err := c.Read(buf[n:min(len(buf), n+maxHead)])
		if err != nil {
			return 0, err
		}
		n += m
		length, err := answerHead(buf[:n])
		if err != nil {
			return 0, err
		}
		if length > 0 {
			return length - n, nil
		}
	}
}
