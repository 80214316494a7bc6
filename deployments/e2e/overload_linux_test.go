package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/load"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
)

// TestFiveThousandClientsDoNotBringDownASmallNode lets clients at a node that may
// have 256 descriptors and 100 MB of memory, each on a new connection as soon as
// it has its answer. They and the servers behind the node share this process, so
// what the node could do is not seen here; that it stays whole is.
func TestFiveThousandClientsDoNotBringDownASmallNode(t *testing.T) {
	const (
		clients  = 5000
		duration = 8 * time.Second
	)
	needDescriptors(t, clients+1000)
	f := fleettest.New(t, fleettest.Options{
		Nodes: 1, NodeLimits: fleettest.Limits{Memory: 100 << 20, Descriptors: 256},
	})
	node := f.Nodes[0]
	f.Apply(loadListener + loadDocuments(0, newBackend(t, f, 9101).Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	ctx, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	crowd := &crowd{address: node.Address + ":8080"}
	before := node.CPU()
	crowd.run(ctx, clients)
	busy := node.CPU() - before
	ended := time.Now()
	crowded := fleettest.Crowd(t)
	fleettest.Wait(t, 10*time.Second, "the node to answer again", func() bool { return crowd.ask(t.Context()) == nil })
	for range 20 {
		if err := crowd.ask(t.Context()); err != nil {
			t.Errorf("after the load: %v", err)
		}
	}
	right := time.Since(ended)
	idleFrom := node.CPU()
	pause(t.Context(), 2*time.Second)
	idle := node.CPU() - idleFrom
	t.Logf("%s; CPU %s in %s, %s in 2 s afterwards; resident %d MiB; right again after %s",
		crowd, busy, duration, idle, node.Resident()>>20, right)
	if limit := time.Duration(float64(time.Second) * crowded()); right > limit {
		t.Errorf("right again %s after the load, at most %s is expected", right, limit)
	}
	if idle > 200*time.Millisecond {
		t.Errorf("CPU %s in 2 s without load", idle)
	}
	if kills := node.OOMKills(); kills > 0 || node.Ended() {
		t.Errorf("%d kills for want of memory, ended: %v", kills, node.Ended())
	}
	if crowd.answered.Load() == 0 {
		t.Error("nobody was answered during the load")
	}
}

// needDescriptors skips a test for which this process may not have enough.
func needDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < n {
		t.Skipf("%d descriptors are needed, the limit is %d (%v)", n, limit.Cur, err)
	}
}

// crowd is many clients that come back at once, whatever they were told.
type crowd struct {
	address                                   string
	answered, refused, reset, late, otherwise atomic.Uint64
	sample                                    atomic.Pointer[error] // one of the others
}

func (c *crowd) run(ctx context.Context, clients int) {
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				c.count(c.ask(ctx))
			}
		})
	}
	wg.Wait()
}

var errUnavailable = errors.New("503")

func (c *crowd) count(err error) {
	switch {
	case err == nil:
		c.answered.Add(1)
	case errors.Is(err, errUnavailable):
		c.refused.Add(1)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF):
		c.reset.Add(1)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		c.late.Add(1)
	default:
		c.otherwise.Add(1)
		c.sample.Store(&err)
	}
}

// ask makes one request on a connection of its own.
func (c *crowd) ask(ctx context.Context) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline := time.Now().Add(5 * time.Second)
	if at, ok := ctx.Deadline(); ok && at.Before(deadline) {
		deadline = at
	}
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, "GET /a?size=1000 HTTP/1.1\r\nHost: load.test\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 2048), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return errUnavailable
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

func (c *crowd) String() string {
	text := fmt.Sprintf("%d answered, %d refused with 503, %d reset, %d too late, %d otherwise",
		c.answered.Load(), c.refused.Load(), c.reset.Load(), c.late.Load(), c.otherwise.Load())
	if err := c.sample.Load(); err != nil {
		text += fmt.Sprintf(" (%v)", *err)
	}
	return text
}

// TestAtTwiceSaturationTheGoodputStays holds a node to a quarter of a processor,
// finds what it can do, and sends twice that on twice the connections; the medians
// of three rounds count. Goodput is what a second of the node's processor answers:
// by the clock, on a machine of few processors, the generator that offers twice as
// much and the servers would be measured too. On a quiet machine 95 % are expected;
// beside other work one round differs from the next by 15 %, hence the bar.
func TestAtTwiceSaturationTheGoodputStays(t *testing.T) {
	const (
		connections = 64
		rounds      = 3
		least       = 0.80
		most        = 2.0
		// Others of a crowded machine take the node's caches with every turn.
		leastInACrowd, inACrowd = 0.60, 1.5
	)
	crowded := fleettest.Crowd(t)
	f := fleettest.New(t, fleettest.Options{Nodes: 1, NodeLimits: fleettest.Limits{CPU: 0.25}})
	f.Apply(loadListener + loadDocuments(0, newBackend(t, f, 9101).Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	node := f.Nodes[0]
	var goodput, slower []float64
	for range rounds {
		options := load.Options{
			Targets: targets(f), Shapes: []load.Shape{{Host: "load.test", Path: "/a", Answer: 1 << 10}},
			Workers: connections, Duration: 3 * time.Second, Warmup: 500 * time.Millisecond, Timeout: 20 * time.Second, Seed: 3,
		}
		begin := node.CPU()
		peak := runLoad(t, options)
		between := node.CPU()
		options.Rate, options.Workers = 2*peak.Rate, 2*connections
		over := runLoad(t, options)
		peakRate := float64(peak.Succeeded) / (between - begin).Seconds()
		overRate := float64(over.Succeeded) / (node.CPU() - between).Seconds()
		t.Logf("peak: %.0f requests/s, p50 %d µs, p99 %d µs; twice that asked: %.0f, p50 %d µs, p99 %d µs of the accepted, %d failed %v",
			peak.Rate, peak.Service.P50, peak.Service.P99, over.Rate, over.Service.P50, over.Service.P99, over.Failed, over.Failures)
		goodput = append(goodput, overRate/peakRate)
		slower = append(slower, float64(over.Service.P99)/float64(peak.Service.P99))
		for class, n := range over.Failures {
			if class != load.Overrun { // what the generator itself kept back
				t.Errorf("%d failed as %s: %+v", n, class, over.Samples)
			}
		}
	}
	slices.Sort(goodput)
	slices.Sort(slower)
	t.Logf("goodput by the node's processor time %.2f of the peak, p99 of the accepted %.2f times the peak's", goodput[rounds/2], slower[rounds/2])
	bar, limit := least, most*crowded()
	if crowded() > inACrowd {
		bar = leastInACrowd
	}
	if goodput[rounds/2] < bar || slower[rounds/2] > limit {
		t.Errorf("goodput of at least %.2f and a p99 of at most %.1f times are expected", bar, limit)
	}
}

// TestOneBusyConnectionStarvesNobody has clients that send without end, pipelined
// and as one body, beside one that asks now and then.
func TestOneBusyConnectionStarvesNobody(t *testing.T) {
	f := fleettest.New(t, fleettest.Options{Nodes: 1})
	node := f.Nodes[0]
	f.Apply(loadListener + loadDocuments(0, newBackend(t, f, 9101).Addr(), newBackend(t, f, 9102).Addr()))
	f.WaitNodes()
	options := load.Options{
		Targets: targets(f), Shapes: []load.Shape{{Host: "load.test", Path: "/a", Answer: 1 << 10}},
		Workers: 4, Rate: 200, Duration: 3 * time.Second, Warmup: 500 * time.Millisecond, Seed: 4,
	}
	for _, greedy := range []struct {
		name string
		send func(net.Conn) error
	}{
		{"pipelined", func(c net.Conn) error {
			_, err := io.WriteString(c, "GET /p HTTP/1.1\r\nHost: load.test\r\n\r\n")
			return err
		}},
		{"body", endlessBody()},
	} {
		t.Run(greedy.name, func(t *testing.T) {
			crowded := fleettest.Crowd(t)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer func() { stop(); wg.Wait() }()
			c, err := net.Dial("tcp", node.Address+":8080")
			if err != nil {
				t.Fatal(err)
			}
			context.AfterFunc(ctx, func() { c.Close() })
			var read atomic.Int64
			wg.Go(func() {
				for greedy.send(c) == nil {
				}
			})
			wg.Go(func() {
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					read.Add(int64(n))
					if err != nil {
						return
					}
				}
			})
			r, err := load.Run(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d answered, %d failed, p50 %d µs, p99 %d µs, max %d µs beside a connection that got %d bytes",
				r.Succeeded, r.Failed, r.Latency.P50, r.Latency.P99, r.Latency.Max, read.Load())
			limit := time.Duration(float64(100*time.Millisecond) * crowded())
			if r.Failed > 0 || r.Latency.P99 > limit.Microseconds() {
				t.Errorf("%d failed %v, p99 %d µs, expected at most %s", r.Failed, r.Failures, r.Latency.P99, limit)
			}
		})
	}
}

// endlessBody begins one request whose body does not end.
func endlessBody() func(net.Conn) error {
	begun := false
	piece := make([]byte, 64<<10)
	return func(c net.Conn) error {
		if !begun {
			begun = true
			if _, err := io.WriteString(c, "POST /b HTTP/1.1\r\nHost: load.test\r\nContent-Length: 1000000000000\r\n\r\n"); err != nil {
				return err
			}
		}
		_, err := c.Write(piece)
		return err
	}
}
