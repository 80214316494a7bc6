//go:build linux

package evloop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// halfAnswers answers "/half…" with a part of an answer and others not at all.
func halfAnswers(t *testing.T) string {
	t.Helper()
	return rawServer(t, func(c net.Conn) {
		b := make([]byte, 4096)
		k, _ := c.Read(b)
		if strings.HasPrefix(string(b[:k]), "GET /half") {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
		}
		_, _ = io.Copy(io.Discard, c)
	})
}

func TestADeadlineThatEndsAConnectionEndsNothingElse(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", halfAnswers(t))
	route, half := forwardAll(u), forwardAll(u)
	route.Timeout = 200 * time.Millisecond
	half.Name, half.Path.Text, half.Timeout = "half", "/half", time.Second // in which the half comes
	n.apply(nil, route, half)
	if got := n.talk("GET /half HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasSuffix(got, "hello") {
		t.Errorf("in mid-answer: %q", got)
	}
	if got := n.talk("GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 504") {
		t.Errorf("before an answer: %q", got)
	}
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonRequestTimeout || r.Status != 200 {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
	if resp := n.get("/none"); resp.StatusCode != 504 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}

func TestWhatIsUnderWayAtTheEndOfTheDrainIsCutAndRecorded(t *testing.T) {
	n := startNode(t, 1)
	n.engine.config.DrainTimeout = 50 * time.Millisecond
	n.apply(nil, forwardAll(newUpstream("u", halfAnswers(t))))
	c := n.dial()
	fmt.Fprintf(c, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := c.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	n.stop()
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonShutdown {
		t.Errorf("%d %s", r.Status, r.Reason)
	}
}

// TestWhatIsKeptOfReadsIsBounded sends chunks so that every read leaves the
// beginning of the next chunk's line.
func TestWhatIsKeptOfReadsIsBounded(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", strictEcho(t))))
	c := n.dial()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1")
	piece := []byte("\r\nx\r\n" + strings.Repeat("384\r\n"+strings.Repeat("y", 900)+"\r\n", 4) + "1")
	l := n.engine.loops[0]
	for range 2000 {
		if _, err := c.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "everything to be taken", func() bool { return l.counts.bufferBytes.Load() <= int64(bufferSizes[1]) })
	if held := n.engine.BufferBytes(); held > highWater {
		t.Errorf("%d bytes are held", held)
	}
}

func TestASlotOfARemovedUpstreamNeverLeadsToItsServer(t *testing.T) {
	answer := func(text string) string {
		return startBackend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	}
	n := startNode(t, 1)
	one, two := answer("ONE"), answer("TWO")
	n.apply(nil, forwardAll(newUpstream("one", one)))
	c := n.dial()
	r := bufio.NewReader(c)
	ask := func() (int, string) {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return 0, err.Error()
		}
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	if _, body := ask(); body != "ONE" {
		t.Fatal(body)
	}
	if err := n.engine.Apply(context.Background(), &table.Table{Version: table.Version{Epoch: 1, Revision: 50}}); err != nil {
		t.Fatal(err)
	}
	if code, body := ask(); code != 503 {
		t.Errorf("on the removed listener's connection: %d %q", code, body)
	}
	n.apply(nil, forwardAll(newUpstream("two", two)))
	resp := n.get("/")
	if body, _ := io.ReadAll(resp.Body); string(body) != "TWO" {
		t.Errorf("got %q", body)
	}
}

func TestARetiredEndpointDoesNotCountForTheNextOwnerOfItsSlot(t *testing.T) {
	hold := make(chan struct{})
	one := startBackend(t, func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); <-hold })
	defer close(hold)
	two := startBackend(t, echo)
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("one", one)))
	c := n.dial()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	n.apply(nil) // lets the slot go
	u := newUpstream("two", two)
	u.Pool.MaxConnections = 1
	n.apply(nil, forwardAll(u))
	if e := n.engine.registry.Endpoint(u.Endpoints[0].Slot); e.Connections() != 0 || e.InFlight() != 0 {
		t.Errorf("%d connections, %d in flight before the first request", e.Connections(), e.InFlight())
	}
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestWhoWaitsForAnEndpointThatIsGoneGetsAnotherOne at once, and not when its time is over.
func TestWhoWaitsForAnEndpointThatIsGoneGetsAnotherOne(t *testing.T) {
	hold := make(chan struct{})
	one := startBackend(t, func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	two := startBackend(t, echo)
	n := startNode(t, 1)
	u := newUpstream("u", one)
	u.Pool.MaxConnections, u.ConnectTimeout = 1, time.Minute
	n.apply(nil, forwardAll(u))
	var asked [2]net.Conn
	for i := range asked {
		asked[i] = n.dialNode()
		fmt.Fprint(asked[i], "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		eventually(t, "it to be served, or to wait", func() bool {
			_, connections, waiting := n.engine.EndpointLoad(0)
			return connections == 1 && waiting == i
		})
	}
	n.apply(nil, forwardAll(newUpstream("u", two)))
	_ = asked[1].SetDeadline(time.Now().Add(10 * time.Second)) // of 15 that the route allows
	if resp, err := http.ReadResponse(bufio.NewReader(asked[1]), nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v %v", resp, err)
	}
	if r := n.records.wait(t, 1); r.Endpoint != two {
		t.Errorf("answered by %s", r.Endpoint)
	}
}

func TestAnAnswerBeforeTheEndOfTheRequestIsTheAnswer(t *testing.T) {
	backend := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	for i := range 100 {
		c, err := net.Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
		go func() { _, _ = c.Write(make([]byte, 10000000)) }()
		n.records.wait(t, i+1)
		c.Close()
	}
	n.records.mu.Lock()
	defer n.records.mu.Unlock()
	for _, r := range n.records.all {
		if r.Status != 413 {
			t.Errorf("%d %s", r.Status, r.Reason)
		}
	}
}

// TestAWaiterGetsThePlaceOfAnAttemptThatWasGivenUp fills an endpoint that does
// not answer connects with one attempt and lets its client leave.
func TestAWaiterGetsThePlaceOfAnAttemptThatWasGivenUp(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", fullQueue(t))
	u.Pool.MaxConnections = 1
	u.ConnectTimeout = 30 * time.Second
	n.apply(nil, forwardAll(u))
	first, err := net.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(first, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
	endpoint := func() (connections, waiting int) {
		_, connections, waiting = n.engine.EndpointLoad(0)
		return
	}
	eventually(t, "the first attempt", func() bool { c, _ := endpoint(); return c == 1 })
	second := n.dial()
	fmt.Fprintf(second, "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "a waiter", func() bool { _, w := endpoint(); return w == 1 })
	first.Close()
	eventually(t, "the waiter's own attempt", func() bool { c, w := endpoint(); return c == 1 && w == 0 })
}

// TestAFinishedAnswerIsNotCutByPressureOrDrain has a client that reads slowly
// what was queued for it.
func TestAFinishedAnswerIsNotCutByPressureOrDrain(t *testing.T) {
	for name, cut := range map[string]func(*node){
		"pressure": func(n *node) { n.engine.SetPressure(pressure.High) },
		"drain":    func(n *node) { _ = n.engine.SetDrained(context.Background(), true) },
	} {
		t.Run(name, func(t *testing.T) {
			const size = 3 << 20
			backend := rawServer(t, func(c net.Conn) {
				_, _ = c.Read(make([]byte, 4096))
				fmt.Fprintf(c, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", size)
				_, _ = c.Write(make([]byte, size))
				_, _ = io.Copy(io.Discard, c)
			})
			n := startNode(t, 1)
			n.apply(nil, forwardAll(newUpstream("u", backend)))
			c := n.dial()
			_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
			fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
			total := 0
			buf := make([]byte, 4096)
			finished := func() bool { n.records.mu.Lock(); defer n.records.mu.Unlock(); return len(n.records.all) > 0 }
			for !finished() { // until the last byte is queued
				k, err := c.Read(buf)
				if err != nil {
					t.Fatal(err)
				}
				total += k
			}
			cut(n)
			_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
			var err error
			for err == nil && total < size {
				var k int
				k, err = c.Read(buf)
				total += k
			}
			if total < size {
				t.Errorf("%d of %d bytes: %v", total, size, err)
			}
		})
	}
}

func TestAnAnswerDuringADrainSaysThatTheConnectionEnds(t *testing.T) {
	release := make(chan struct{})
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) { <-release; fmt.Fprint(w, "ok") })
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	c := n.dial()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "a request in flight", func() bool { f, _, _ := n.engine.EndpointLoad(0); return f == 1 })
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	close(release)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || !resp.Close {
		t.Errorf("%v %v", resp, err)
	}
}

func TestAnswersWithoutABodySayNothingAboutOne(t *testing.T) {
	for _, framing := range []string{"content-length: 5\r\n", "transfer-encoding: chunked\r\n", ""} {
		backend := rawServer(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n"+framing+"proxy-authenticate: Basic\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		})
		n := startNode(t, 1)
		n.apply(nil, forwardAll(newUpstream("u", backend)))
		got := strings.ToLower(n.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
		if strings.Contains(got, "content-length") || strings.Contains(got, "transfer-encoding") || strings.Contains(got, "proxy-auth") {
			t.Errorf("%q: %q", framing, got)
		}
	}
}

func TestSetReplacesWhatTheNodeWritesItself(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, &table.Route{
		Name: "ping", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond, Timeout: time.Second,
		Respond: &table.Respond{Status: 200, Body: []byte("pong"), Fields: []table.HeaderField{{Name: []byte("content-type"), Value: []byte("text/plain")}}},
		ResponseHeaders: &table.HeaderOps{
			Set: []table.HeaderField{{Name: []byte("content-type"), Value: []byte("text/html"), ID: message.FieldContentType}},
		},
	})
	if got := n.talk("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); strings.Count(got, "content-type") != 1 || !strings.Contains(got, "text/html") {
		t.Errorf("%q", got)
	}
}
