//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
)

// largeAnswer does not fit into what one side takes before it must wait for the other.
var largeAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000)

// breaker1 is an endpoint of HTTP/1.1 that breaks off in every way, by chance.
func breaker1(t *testing.T, seed uint64) string {
	var connections atomic.Uint64
	return rawServer(t, func(c net.Conn) {
		rnd := rand.New(rand.NewPCG(seed, connections.Add(1)))
		for r := bufio.NewReader(c); ; {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if rnd.IntN(2) == 0 { // else it answers early
				_, _ = io.Copy(io.Discard, req.Body)
			}
			answer, goesOn := "", false
			switch rnd.IntN(9) {
			case 0:
			case 1:
				_ = c.(*net.TCPConn).SetLinger(0)
			case 2:
				answer = "HTTP/1.1 20"
			case 3:
				answer = "HTTP/1.1 103 Early Hints\r\n\r\n"
			case 4:
				answer = largeAnswer[:1000+rnd.IntN(200_000)]
			case 5:
				answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nh"
			case 6:
				answer, goesOn = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", true
			case 7:
				answer, goesOn = largeAnswer, true
			default:
				answer, goesOn = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", true
			}
			if _, err := io.WriteString(c, answer); err != nil || !goesOn {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
		}
	})
}

// breaker2 is breaker1 in HTTP/2.
func breaker2(t *testing.T, seed uint64) string {
	var connections atomic.Uint64
	codes := []xhttp2.ErrCode{xhttp2.ErrCodeRefusedStream, xhttp2.ErrCodeCancel, xhttp2.ErrCodeInternal, xhttp2.ErrCodeNo}
	ok, busy := onWire(":status: 200"), onWire(":status: 503")
	return rawServer(t, func(c net.Conn) {
		rnd := rand.New(rand.NewPCG(seed, connections.Add(1)))
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		_ = f.WriteSettings()
		head := func(id uint32, block []byte, end bool) {
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end})
		}
		for last := uint32(0); ; {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			id := frame.Header().StreamID
			if data, ok := frame.(*xhttp2.DataFrame); ok && data.Length > 0 {
				_ = f.WriteWindowUpdate(0, data.Length)
			}
			if _, ok := frame.(*xhttp2.HeadersFrame); !ok || id <= last {
				continue
			}
			last = id
			switch rnd.IntN(10) {
			case 0:
				if rnd.IntN(4) == 0 {
					return
				}
			case 1:
				if rnd.IntN(4) == 0 {
					_ = f.WriteGoAway(id-2*uint32(rnd.IntN(2)), xhttp2.ErrCodeNo, nil)
				}
			case 2, 3:
				_ = f.WriteRSTStream(id, codes[rnd.IntN(len(codes))])
				continue
			case 4:
				head(id, onWire(":status: 103"), false)
				_ = f.WriteRSTStream(id, codes[rnd.IntN(len(codes))])
				continue
			case 5:
				head(id, ok, false)
				_ = f.WriteData(id, false, make([]byte, rnd.IntN(16<<10)))
				_ = f.WriteRSTStream(id, codes[rnd.IntN(len(codes))])
				continue
			case 6:
				head(id, busy, true)
				continue
			}
			head(id, ok, false)
			_ = f.WriteData(id, false, make([]byte, rnd.IntN(16<<10)))
			head(id, onWire("x-trailer: 1"), true)
		}
	})
}

// break1 sends requests in HTTP/1.1 on one connection, and leaves at any time.
func (n *node) break1(rnd *rand.Rand) {
	c, err := net.Dial("tcp", n.address)
	if err != nil {
		n.t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for r := bufio.NewReader(c); rnd.IntN(6) > 0; {
		var b bytes.Buffer
		method := []string{"GET", "HEAD", "PUT", "POST"}[rnd.IntN(4)]
		fmt.Fprintf(&b, "%s / HTTP/1.1\r\nHost: a\r\n", method)
		switch body := bytes.Repeat([]byte{'x'}, rnd.IntN(100_000)); {
		case method == "GET" || method == "HEAD":
			b.WriteString("\r\n")
		case rnd.IntN(2) == 0:
			fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
		default:
			b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
			writeChunks(&b, body, 1+rnd.IntN(20_000))
			b.WriteString("\r\n")
		}
		whole := rnd.IntN(5) > 0
		if !whole {
			b.Truncate(rnd.IntN(b.Len()))
		}
		if _, err := c.Write(b.Bytes()); err != nil || !whole {
			return
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		for err == nil && resp.StatusCode < 200 { // an interim answer
			resp, err = http.ReadResponse(r, &http.Request{Method: method})
		}
		if err != nil {
			return
		}
		if rnd.IntN(5) == 0 {
			_, _ = io.CopyN(io.Discard, resp.Body, rnd.Int64N(100_000))
			return
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
			return
		}
	}
}

// break2 sends a request in HTTP/2, and gives it up at any time.
func (n *node) break2(client *http.Client, rnd *rand.Rand) {
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	var body io.Reader
	if rnd.IntN(2) == 0 {
		body = bytes.NewReader(make([]byte, rnd.IntN(100_000)))
		if rnd.IntN(2) == 0 {
			body = io.MultiReader(body)
		}
	}
	req, _ := http.NewRequestWithContext(ctx, []string{"GET", "PUT", "POST"}[rnd.IntN(3)], "http://"+n.address+"/", body)
	if rnd.IntN(2) == 0 {
		req.Header.Set("Content-Type", "application/grpc")
	}
	if rnd.IntN(5) == 0 {
		time.AfterFunc(time.Duration(rnd.IntN(3000))*time.Microsecond, cancel)
	}
	resp, err := client.Transport.RoundTrip(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if rnd.IntN(5) > 0 {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

// TestNothingIsKeptOfWhatBreaksOff: clients leave, endpoints die and refuse, at any time, and
// what is tried again breaks off again. When all clients have gone nothing of their exchanges is
// left, neither memory nor places nor parts of the retry budget.
func TestNothingIsKeptOfWhatBreaksOff(t *testing.T) {
	t.Parallel()
	const seed, clients, each = 1, 8, 20
	n := startChanged(t, 2, func(e *Engine) {
		for i, l := range e.loops {
			meddle(l, seed+uint64(i))
		}
	})
	u1, u2 := newUpstream("u1", breaker1(t, seed), breaker1(t, seed+1)), newUpstream("u2", breaker2(t, seed), breaker2(t, seed+1))
	u2.HTTP2 = true
	inEveryPair(func(version, endpoint int) {
		u := u1
		if endpoint == 2 {
			u = u2
		}
		route := forwardAll(u)
		route.Retry.Attempts, route.Retry.NonIdempotent, route.Retry.Backoff = 4, true, time.Millisecond
		route.Retry.Statuses.Add(503)
		n.apply(nil, route)
		client := h2client(t)
		var all sync.WaitGroup
		for i := range uint64(clients) {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(seed, 100*uint64(10*version+endpoint)+i))
				for range each {
					if version == 1 {
						n.break1(rnd)
					} else {
						n.break2(client, rnd)
					}
				}
			})
		}
		all.Wait()
		pair := fmt.Sprintf("HTTP/%d to HTTP/%d: ", version, endpoint)
		eventually(t, pair+"the end of all connections", func() bool {
			client.CloseIdleConnections() // which one is as soon as its last request has been given up
			return n.engine.clients() == 0
		})
		eventually(t, pair+"the end of all exchanges", func() bool { return n.engine.stats.Counter(stats.ExchangesOpen) == 0 })
		for i := range u.Endpoints {
			if inFlight, _, waiting := n.engine.EndpointLoad(u.Endpoints[i].Slot); inFlight != 0 || waiting != 0 {
				t.Errorf("%s%d attempts in flight, %d waiting", pair, inFlight, waiting)
			}
		}
		if left := n.engine.registry.Upstream(u.Slot).Retries(); left != 0 {
			t.Errorf("%s%d parts of the retry budget are lost", pair, left)
		}
		eventually(t, pair+"the end of all buffers", func() bool { return n.engine.BufferBytes() == 0 })
	})
	n.stop()
	for i := range u2.Endpoints { // which the last pair had
		if _, connections, _ := n.engine.EndpointLoad(u2.Endpoints[i].Slot); connections != 0 {
			t.Errorf("%d connections are counted to endpoint %d", connections, i)
		}
	}
}
