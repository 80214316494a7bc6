//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// failing starts an endpoint that reads requests whole and then does what fail
// does to them, and counts them.
func failing(t *testing.T, count *atomic.Int64, fail func(net.Conn)) string {
	t.Helper()
	return rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			count.Add(1)
			if fail == nil {
				return
			}
			fail(c)
		}
	})
}

func unavailable(c net.Conn) {
	_, _ = io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy")
}

func silent(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }

// send makes a request with a body, on any goroutine. Status 0: there was no answer.
func (n *node) send(method string, body []byte, chunked bool) (status int, answer []byte) {
	n.t.Helper()
	var from io.Reader = bytes.NewReader(body)
	if chunked {
		from = io.MultiReader(from) // hides the length
	}
	req, err := http.NewRequest(method, "http://"+n.address+"/", from)
	if err != nil {
		n.t.Error(err)
		return 0, nil
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		n.t.Error(err)
		return 0, nil
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		n.t.Error(err)
		return 0, nil
	}
	return resp.StatusCode, answer
}

func TestAFailedRequestIsSentWholeToAnotherEndpoint(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 3000) // 48,000 bytes
	for _, c := range []struct {
		name    string
		fail    func(net.Conn)
		method  string
		body    []byte
		chunked bool
		told    bool
		retried bool
	}{
		{"503, GET", unavailable, "GET", nil, false, false, true},
		{"503, PUT", unavailable, "PUT", body, false, false, true},
		{"503, PUT in chunks", unavailable, "PUT", body, true, false, true},
		{"503, POST", unavailable, "POST", body, false, false, false},
		{"503, POST, told", unavailable, "POST", body, true, true, true},
		{"503, PUT too long to keep", unavailable, "PUT", append(body, body...), true, false, false},
		{"end, GET", nil, "GET", nil, false, false, true},
		{"end, PUT", nil, "PUT", body, false, false, true},
		{"end, POST", nil, "POST", body, false, false, false},
		{"silence, PUT in chunks", silent, "PUT", body, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := startNode(t, 1)
			var failed atomic.Int64
			route := forwardAll(newUpstream("u", failing(t, &failed, c.fail), startBackend(t, echo)))
			route.Retry.On |= table.RetryOnTimeout
			route.Retry.Backoff, route.Retry.NonIdempotent = time.Millisecond, c.told
			if strings.HasPrefix(c.name, "silence") {
				route.Retry.PerTry = time.Second // in which the other one answers
			}
			route.Retry.Statuses.Add(503)
			n.apply(nil, route)
			for i := 1; failed.Load() == 0; i++ { // until the round robin comes by
				status, answer := n.send(c.method, c.body, c.chunked)
				if failed.Load() > 0 && !c.retried {
					if status == 200 {
						t.Errorf("status %d", status)
					}
				} else if status != 200 || !bytes.Equal(answer, c.body) {
					t.Errorf("status %d, %d bytes of %d", status, len(answer), len(c.body))
				}
				want := uint8(1)
				if failed.Load() > 0 && c.retried {
					want = 2
				}
				if r := n.records.wait(t, i); r.Attempts != want || r.BytesIn != uint64(len(c.body)) || r.OverBudget {
					t.Errorf("record %+v", r)
				}
			}
			eventually(t, "the budget to be given back", func() bool { return n.retries() == 0 })
			eventually(t, "the buffers to be given back", func() bool { return n.engine.BufferBytes() == 0 })
		})
	}
}

// TestKeptConnectionsThatEndAtOnceCostNoAttemptAndNoBudget: an endpoint ends all of them when they
// are used again, as one that restarts does, and none of the requests that met that fails.
func TestKeptConnectionsThatEndAtOnceCostNoAttemptAndNoBudget(t *testing.T) {
	const clients = 8 // more retries than are always allowed
	n := startNode(t, 1)
	both := [2]*gathering{newGathering(clients), newGathering(clients)} // of first requests, and of second attempts
	var connections atomic.Int64
	route := forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		both[min((connections.Add(1)-1)/clients, 1)].wait()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		_, _ = http.ReadRequest(r) // which is not answered
	})))
	route.Retry.Attempts, route.Retry.Budget = 1, 0
	n.apply(nil, route)
	for range both {
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				if status, _ := n.send("GET", nil, false); status != 200 {
					t.Errorf("status %d", status)
					both[1].end()
				}
			})
		}
		wg.Wait()
	}
	if made := connections.Load(); made != 2*clients {
		t.Errorf("%d connections", made)
	}
}

// gathering is where so many come together.
type gathering struct {
	left atomic.Int64
	all  chan struct{}
	end  func() // it waits for nobody any more
}

func newGathering(n int64) *gathering {
	g := &gathering{all: make(chan struct{})}
	g.left.Store(n)
	g.end = sync.OnceFunc(func() { close(g.all) })
	return g
}

func (g *gathering) wait() {
	if g.left.Add(-1) == 0 {
		g.end()
	}
	<-g.all
}

// retries is what the node has of them at its first upstream.
func (n *node) retries() int { return n.engine.registry.Upstream(0).Retries() }

func TestNothingIsTriedAgainOnceAByteOfTheAnswerWentDown(t *testing.T) {
	n := startNode(t, 1)
	var count atomic.Int64
	route := forwardAll(newUpstream("u", failing(t, &count, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
		c.Close()
	})))
	route.Retry.Backoff = time.Millisecond
	n.apply(nil, route)
	if got := n.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 103") || !strings.Contains(got, "HTTP/1.1 502") {
		t.Errorf("%q", got)
	}
	if count.Load() != 1 {
		t.Errorf("%d attempts", count.Load())
	}
}

// TestAWaitBeforeARetryEndsWithItsClient: a wait is a state, which nothing holds
// that would have to be waited for.
func TestAWaitBeforeARetryEndsWithItsClient(t *testing.T) {
	n := startNode(t, 1)
	var count atomic.Int64
	route := forwardAll(newUpstream("u", failing(t, &count, unavailable)))
	route.Retry.Statuses.Add(503)
	route.Timeout, route.Retry.Backoff = 10*time.Minute, time.Minute
	n.apply(nil, route)
	c, err := n.connect()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the wait", func() bool { return n.retries() == 1 })
	if f, _, _ := n.engine.EndpointLoad(0); f != 0 {
		t.Errorf("%d in flight while it waits", f)
	}
	c.Close()
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonClientGone || r.Attempts != 1 {
		t.Errorf("record %+v", r)
	}
	eventually(t, "the budget to be given back", func() bool { return n.retries() == 0 })
}

// TestAStormOfRetriesStaysInItsBudget: every answer is 503. At every moment the
// endpoint has seen no more than a fifth more attempts than there were requests, and
// three.
func TestAStormOfRetriesStaysInItsBudget(t *testing.T) {
	const clients, each = 64, 25
	n := startNode(t, 2)
	var requests, attempts, most atomic.Int64
	route := forwardAll(newUpstream("u", failing(t, &attempts, func(c net.Conn) {
		// Requests are counted before they are sent, attempts when they are there.
		if over := attempts.Load()*10 - requests.Load()*12 - 30; over > most.Load() {
			most.Store(over)
		}
		unavailable(c)
	})))
	route.Retry.Statuses.Add(503)
	n.apply(nil, route)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			c, err := n.connect()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for range each {
				requests.Add(1)
				fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != 503 {
					t.Error(resp, err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
			}
		})
	}
	wg.Wait()
	if most.Load() > 0 {
		t.Errorf("%d attempts too many at some moment", most.Load()/10)
	}
	t.Logf("%d requests, %d attempts", requests.Load(), attempts.Load())
	if attempts.Load() <= requests.Load() {
		t.Error("nothing was tried again")
	}
	eventually(t, "the budget to be given back", func() bool { return n.retries() == 0 })
	n.records.mu.Lock()
	defer n.records.mu.Unlock()
	stopped := 0
	for _, r := range n.records.all {
		if r.OverBudget {
			stopped++
		}
	}
	var counted uint64
	for e := range n.engine.stats.ByEndpoint() {
		counted += e.Stopped
	}
	if stopped == 0 || counted != uint64(stopped) {
		t.Errorf("%d records say that the budget stopped a retry, the metric says %d", stopped, counted)
	}
}
