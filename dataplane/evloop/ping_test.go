//go:build linux

package evloop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

var quickPing = table.Ping{Interval: 50 * time.Millisecond, Timeout: 200 * time.Millisecond}

// freezer passes connections on to an address until it is frozen: then they stay
// open and nothing moves.
func freezer(t *testing.T, to string) (address string, frozen *atomic.Bool) {
	t.Helper()
	frozen = new(atomic.Bool)
	pass := func(dst, src net.Conn) {
		b := make([]byte, 32<<10)
		for {
			n, err := src.Read(b)
			if frozen.Load() {
				_, _ = io.Copy(io.Discard, src)
			} else if n > 0 {
				_, _ = dst.Write(b[:n])
			}
			if err != nil {
				dst.Close()
				return
			}
		}
	}
	return rawServer(t, func(c net.Conn) {
		up, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		defer up.Close()
		go pass(c, up)
		pass(up, c)
	}), frozen
}

// TestAnEndpointThatHangsIsFoundByPINGAndItsRequestsAreTriedElsewhere has a
// connection that stays open and says nothing.
func TestAnEndpointThatHangsIsFoundByPINGAndItsRequestsAreTriedElsewhere(t *testing.T) {
	n := startNode(t, 1)
	begun := make(chan struct{}, 8)
	dead, _ := h2backend(t, func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
	})
	alive, _ := h2backend(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "alive") })
	address, frozen := freezer(t, dead.Endpoints[0].Address)
	u := newUpstream("u", address, alive.Endpoints[0].Address)
	u.HTTP2, u.Ping = true, table.Ping{Interval: 50 * time.Millisecond, Timeout: time.Second} // in which the other one answers
	n.apply(nil, forwardAll(u))
	go func() {
		<-begun
		frozen.Store(true)
	}()
	start := time.Now()
	for range 2 { // one of them at each endpoint
		resp := n.get("/")
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "alive" {
			t.Errorf("%d %q, %v", resp.StatusCode, body, err)
		}
	}
	if took := time.Since(start); took > 10*time.Second { // of 15 that the route allows
		t.Errorf("it took %s", took)
	}
	if r := n.records.wait(t, 1); r.Attempts+n.records.wait(t, 2).Attempts != 3 {
		t.Errorf("%d and %d attempts", r.Attempts, n.records.wait(t, 2).Attempts)
	}
}

// TestWhoAnswersPINGIsWaitedFor on both sides: an answer may take long.
func TestWhoAnswersPINGIsWaitedFor(t *testing.T) {
	n := startNode(t, 1)
	u, conns := h2backend(t, func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(2 * time.Second) // longer than a PING may take
		fmt.Fprint(w, "late")
	})
	u.Ping = table.Ping{Interval: 50 * time.Millisecond, Timeout: 1500 * time.Millisecond}
	n.apply(func(l *table.Listener) { l.Ping = u.Ping }, forwardAll(u))
	resp, err := h2client(t).Get("http://" + n.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "late" {
		t.Errorf("%q, %v", body, err)
	}
	if c := conns.Load(); c != 1 || clientsOpen(n) != 1 {
		t.Errorf("%d connections to the endpoint, %d of clients", c, clientsOpen(n))
	}
}

// TestAPINGHasItsTime, by the clock of a loop that does not run: it is sent where nothing has come
// for so long, and whoever says nothing to it for as long as it may take is gone.
func TestAPINGHasItsTime(t *testing.T) {
	l := startedLoop(t)
	d, _ := pairedDown(t, l)
	l.beginMux(d)
	l.endTurn(l.now)
	f := &d.mux.frames
	heard := l.now
	for i, c := range []struct {
		at                    time.Duration // since it was heard
		unread, answers, dead bool          // before the look
		asked                 time.Duration // then; 0: not
	}{
		{quickPing.Interval - 1, false, false, false, 0},
		{quickPing.Interval, false, false, false, quickPing.Interval},
		{quickPing.Interval + quickPing.Timeout - 1, false, false, false, quickPing.Interval},
		{quickPing.Interval + quickPing.Timeout, false, false, true, quickPing.Interval},
		{quickPing.Interval + quickPing.Timeout, false, true, false, 0},
		{quickPing.Interval + quickPing.Timeout, true, false, false, 0}, // its answer may be there, and we do not read
	} {
		l.now = heard + int64(c.at)
		if c.answers {
			f.hear(l.now)
			heard = l.now
			continue
		}
		if f.link.readable = c.unread; c.unread {
			f.pinged = heard + int64(quickPing.Interval)
		}
		dead := l.turnPing(f, quickPing)
		asked := time.Duration(0)
		if f.pinged > 0 {
			asked = time.Duration(f.pinged - heard)
		}
		if dead != c.dead || asked != c.asked {
			t.Errorf("look %d, after %s: dead %t, asked after %s", i, c.at, dead, asked)
		}
	}
}

// TestAClientThatHangsIsFoundByPING: it has asked for something, and answers nothing.
func TestAClientThatHangsIsFoundByPING(t *testing.T) {
	n := startNode(t, 1)
	given := make(chan struct{})
	u := newUpstream("u", startBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(given)
	}))
	n.apply(func(l *table.Listener) { l.Ping = quickPing }, forwardAll(u))
	c, err := n.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var conn http2.Conn
	conn.Init(http2.Client, http2.Options{})
	out := conn.AppendPreface(nil)
	out, _, _ = conn.AppendRequest(out, &message.Out{Method: []byte("GET"), Target: []byte("/"), Authority: []byte("a")}, true, 0)
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	<-given
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonClientGone {
		t.Errorf("%s", r.Reason)
	}
	eventually(t, "the connection's end", func() bool { return clientsOpen(n) == 0 })
}
