package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// roughTimeout bounds everything that a rough client does.
const roughTimeout = 10 * time.Second

// roughClients do to a node what clients do that are slow, impatient, broken or
// hostile. Each does one thing after another, on connections of its own.
type roughClients struct {
	address string
	done    [16]atomic.Uint64 // by deed
}

// deeds are what they do. They return when the connection has served its purpose;
// what they read is not looked at.
var deeds = []struct {
	name string
	do   func(ctx context.Context, c *net.TCPConn)
}{
	{"pipelined", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, strings.Repeat("GET /p?size=2000 HTTP/1.1\r\nHost: load.test\r\n\r\n", 7)+
			"GET /p HTTP/1.1\r\nHost: load.test\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}},
	{"leaves in mid-request", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "POST /q HTTP/1.1\r\nHost: load.test\r\nContent-Length: 100000\r\n\r\nabc")
	}},
	{"resets in mid-request", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "POST /q HTTP/1.1\r\nHost: load.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
		_ = c.SetLinger(0)
	}},
	{"resets in mid-answer", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "GET /r?size=400000 HTTP/1.1\r\nHost: load.test\r\n\r\n")
		_, _ = io.CopyN(io.Discard, c, 5000)
		_ = c.SetLinger(0)
	}},
	{"half-closed", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "GET /h?size=100 HTTP/1.1\r\nHost: load.test\r\n\r\n")
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}},
	{"reads slowly", func(ctx context.Context, c *net.TCPConn) {
		_ = c.SetReadBuffer(8 << 10)
		_, _ = io.WriteString(c, "GET /s?size=300000 HTTP/1.1\r\nHost: load.test\r\nConnection: close\r\n\r\n")
		for range 40 {
			if _, err := io.CopyN(io.Discard, c, 500); err != nil || !wakeup.After(ctx, 10*time.Millisecond) {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	}},
	{"sends its head slowly", func(ctx context.Context, c *net.TCPConn) {
		for _, piece := range []string{"GET /t HTT", "P/1.1\r\nHost: lo", "ad.test\r\nConnection: close\r", "\n\r\n"} {
			if _, err := io.WriteString(c, piece); err != nil || !wakeup.After(ctx, 30*time.Millisecond) {
				return
			}
		}
		_, _ = io.Copy(io.Discard, c)
	}},
	{"speaks no HTTP", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\n\n")
		_, _ = io.Copy(io.Discard, c)
	}},
	{"smuggles", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "POST /u HTTP/1.1\r\nHost: load.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}},
	{"says nothing", func(ctx context.Context, _ *net.TCPConn) { wakeup.After(ctx, 50*time.Millisecond) }},
	{"waits for 100", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "POST /w HTTP/1.1\r\nHost: load.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
		_, _ = io.WriteString(c, "hello")
		_, _ = io.Copy(io.Discard, c)
	}},
	{"sends trailers", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "POST /x HTTP/1.1\r\nHost: load.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}},
	{"asks a broken server", func(_ context.Context, c *net.TCPConn) {
		r := bufio.NewReader(c)
		for range 5 {
			_, _ = io.WriteString(c, "GET /y?size=3000 HTTP/1.1\r\nHost: broken.test\r\n\r\n")
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}},
	{"asks a server that is not there", func(_ context.Context, c *net.TCPConn) {
		_, _ = io.WriteString(c, "GET /z HTTP/1.1\r\nHost: absent.test\r\nConnection: close\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	}},
}

// run lets as many clients at it until ctx ends.
func (r *roughClients) run(ctx context.Context, clients int) {
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for k := i; wakeup.After(ctx, 20*time.Millisecond); k++ {
				r.one(ctx, k%len(deeds))
			}
		})
	}
	wg.Wait()
}

func (r *roughClients) one(ctx context.Context, deed int) {
	c, err := net.DialTimeout("tcp", r.address, roughTimeout)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(roughTimeout))
	deeds[deed].do(ctx, c.(*net.TCPConn))
	r.done[deed].Add(1)
}

// String tells how often each deed was done.
func (r *roughClients) String() string {
	var b strings.Builder
	for i := range deeds {
		fmt.Fprintf(&b, "%s %d, ", deeds[i].name, r.done[i].Load())
	}
	return strings.TrimSuffix(b.String(), ", ")
}

// breaksConnections is the Intercept of a backend that resets, closes, truncates
// and babbles, each now and then.
func breaksConnections(request uint64, c net.Conn) bool {
	switch request % 9 {
	case 2:
		_ = c.(*net.TCPConn).SetLinger(0)
	case 4:
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
	case 6:
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz")
	case 8:
		_, _ = io.WriteString(c, "HELO\n\n")
	default:
		return false
	}
	return true
}
