//go:build linux

package evloop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// livesFor has a listener's connections end after about so long.
func livesFor(most time.Duration) func(*table.Listener) {
	return func(l *table.Listener) { l.Timeouts.MaxLifetime = most }
}

// leaving is what a client of HTTP/2 hears, in order, once it was sent away.
type leaving struct {
	t    *testing.T
	c    net.Conn
	f    *xhttp2.Framer
	ping [8]byte
}

// leavingFrom is a client of n, which has 10 s.
func leavingFrom(n *node) *leaving {
	c, f := n.framesTo()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &leaving{t: n.t, c: c, f: f}
}

func (v *leaving) get(id uint32, path string) {
	_ = v.f.WriteHeaders(xhttp2.HeadersFrameParam{
		StreamID: id, BlockFragment: onWire(":method: GET", ":scheme: http", ":path: "+path, ":authority: a"), EndStream: true, EndHeaders: true,
	})
}

// next is the next frame that says something of streams: "GOAWAY last", "PING", "END
// id" for the end of an answer, "EOF".
func (v *leaving) next() string {
	v.t.Helper()
	for {
		frame, err := v.f.ReadFrame()
		switch {
		case errors.Is(err, io.EOF):
			return "EOF"
		case err != nil:
			v.t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *xhttp2.GoAwayFrame:
			return fmt.Sprint("GOAWAY ", frame.LastStreamID, " ", frame.ErrCode)
		case *xhttp2.PingFrame:
			v.ping = frame.Data
			return "PING"
		case *xhttp2.RSTStreamFrame:
			return fmt.Sprint("RESET ", frame.StreamID)
		case *xhttp2.DataFrame:
			if frame.StreamEnded() {
				return fmt.Sprint("END ", frame.StreamID)
			}
		case *xhttp2.HeadersFrame:
			if frame.StreamEnded() {
				return fmt.Sprint("END ", frame.StreamID)
			}
		}
	}
}

// expect is what comes next, and nothing else.
func (v *leaving) expect(what ...string) {
	v.t.Helper()
	for _, w := range what {
		if got := v.next(); got != w {
			v.t.Fatalf("%s, want %s", got, w)
		}
	}
}

// sentAway is the first of the two steps (RFC 9113 section 6.8).
var sentAway = []string{fmt.Sprint("GOAWAY ", uint32(math.MaxInt32), " NO_ERROR"), "PING"}

// TestAnHTTP2ClientWhoseTimeIsOverIsSentAwayInTwoSteps: what is under way, and on its
// way, is answered; what comes behind the second step is not taken, and not refused.
func TestAnHTTP2ClientWhoseTimeIsOverIsSentAwayInTwoSteps(t *testing.T) {
	const most = 200 * time.Millisecond
	release := make(chan struct{})
	n := startNode(t, 1)
	n.apply(livesFor(most), forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			<-release
		}
		fmt.Fprint(w, "whole")
	}))))
	begun := time.Now()
	v := leavingFrom(n)
	v.get(1, "/held")
	v.expect(sentAway...)
	if took := time.Since(begun); took < most-most/lifetimeSpread {
		t.Errorf("sent away after %s of %s", took, most)
	}
	v.get(3, "/") // was on its way
	v.expect("END 3")
	_ = v.f.WritePing(true, v.ping)
	v.get(5, "/") // so was that, as its client wrote two at once
	v.expect("END 5", "GOAWAY 5 NO_ERROR")
	v.get(7, "/") // the client may send it to others
	close(release)
	v.expect("END 1", "EOF")
}

func TestAnHTTP2ClientThatIsIdleIsSentAwayToo(t *testing.T) {
	n := startNode(t, 1)
	n.apply(livesFor(100 * time.Millisecond))
	v := leavingFrom(n)
	v.expect(sentAway...)
	_ = v.f.WritePing(true, v.ping)
	v.expect("GOAWAY 0 NO_ERROR", "EOF")
}

// TestAnHTTP2ClientThatStaysIsSentAwayAllTheSame: it does not answer the PING, and goes
// on asking, so that its connection is never long without a request.
func TestAnHTTP2ClientThatStaysIsSentAwayAllTheSame(t *testing.T) {
	n := startNode(t, 1)
	n.apply(livesFor(50*time.Millisecond), forwardAll(newUpstream("u", startBackend(t, echo))))
	v := leavingFrom(n)
	id := uint32(1)
	v.get(id, "/")
	for begun := time.Now(); ; {
		got := v.next()
		if got == fmt.Sprint("END ", id) {
			id += 2
			v.get(id, "/")
		}
		if strings.HasPrefix(got, "GOAWAY ") && got != sentAway[0] {
			break
		}
		if time.Since(begun) > 5*time.Second {
			t.Fatalf("it stays, and has asked %d times", id/2)
		}
	}
}

// TestAnHTTP1ClientWhoseTimeIsOverIsToldSoInAnAnswer, and not between two.
func TestAnHTTP1ClientWhoseTimeIsOverIsToldSoInAnAnswer(t *testing.T) {
	const most = 200 * time.Millisecond
	n := startNode(t, 1)
	n.apply(livesFor(most), forwardAll(newUpstream("u", startBackend(t, echo))))
	begun := time.Now()
	idle, busy := n.dial(), n.dial()
	ask := func(c net.Conn) (closes bool) {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", resp.Status, err)
		}
		if resp.Close {
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("behind the last answer: %v", err)
			}
		}
		return resp.Close
	}
	eventually(t, "the last answer", func() bool { return ask(busy) })
	told := time.Now()
	if took := told.Sub(begun); took < most-most/lifetimeSpread {
		t.Errorf("told after %s of %s", took, most)
	}
	// The other one was taken before it, and lives longer by twice the spread at most.
	eventually(t, "the other's end", func() bool { return time.Since(told) > 2*most/lifetimeSpread })
	if !ask(idle) {
		t.Error("a connection that was idle when its time was over is kept behind the next answer")
	}
}

// TestNoRequestIsLostWhereConnectionsLiveShortly has Go's clients, of both versions,
// ask side by side, each on many connections one after the other.
func TestNoRequestIsLostWhereConnectionsLiveShortly(t *testing.T) {
	const lives, asking, least = 20 * time.Millisecond, 500 * time.Millisecond, 3
	n := startNode(t, 2)
	n.apply(livesFor(lives), forwardAll(newUpstream("u", startBackend(t, echo))))
	for _, version := range []int{1, 2} {
		var connections atomic.Int64
		transport := &http.Transport{
			Protocols: new(http.Protocols),
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				connections.Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, address)
			},
		}
		transport.Protocols.SetHTTP1(version == 1)
		transport.Protocols.SetUnencryptedHTTP2(version == 2)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for begun := time.Now(); time.Since(begun) < asking || connections.Load() < least && time.Since(begun) < 20*asking; {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.address+"/", strings.NewReader("body"))
					if err != nil {
						t.Error(err)
						return
					}
					resp, err := transport.RoundTrip(req)
					if err != nil {
						t.Errorf("HTTP/%d: %v", version, err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
					if resp.StatusCode != http.StatusOK || resp.ProtoMajor != version {
						t.Errorf("HTTP/%d: %s", version, resp.Status)
					}
				}
			})
		}
		wait.Wait()
		transport.CloseIdleConnections()
		if got := connections.Load(); got < least {
			t.Errorf("HTTP/%d: %d connections", version, got)
		}
	}
}

// TestALifetimeThatIsSetLaterCountsFromTheBeginning of connections that are open.
func TestALifetimeThatIsSetLaterCountsFromTheBeginning(t *testing.T) {
	n := startNode(t, 1)
	all := forwardAll(newUpstream("u", startBackend(t, echo)))
	n.apply(nil, all)
	v := leavingFrom(n)
	v.get(1, "/")
	v.expect("END 1")
	n.apply(livesFor(time.Millisecond), all)
	v.get(3, "/") // before it nothing comes up
	v.expect("END 3")
	v.expect(sentAway...)
}

func TestWhatATunnelPassesOutlivesItsConnection(t *testing.T) {
	const most = 50 * time.Millisecond
	n := startNode(t, 1)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, r)
	}))
	n.apply(livesFor(most), tunnels(u))
	c := n.dial()
	begun := time.Now()
	_ = c.SetDeadline(begun.Add(10 * time.Second))
	r := bufio.NewReader(c)
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	for time.Since(begun) < 2*most {
		fmt.Fprint(c, "x")
		if _, err := r.ReadByte(); err != nil {
			t.Fatalf("after %s: %v", time.Since(begun), err)
		}
	}
}
