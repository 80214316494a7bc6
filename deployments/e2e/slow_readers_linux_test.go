package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// flood is a server of HTTP/1.1 and of bare connections: each gets 100 MiB, as fast as
// it can be sent.
type flood struct {
	net.Listener
	sent atomic.Int64
	open sync.WaitGroup
}

const floodSize = 100 << 20

func newFlood(t *testing.T) *flood {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flood{Listener: l}
	t.Cleanup(func() { l.Close(); f.open.Wait() }) // after the node has ended
	piece := make([]byte, 64<<10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.open.Go(func() {
				defer c.Close()
				request := make([]byte, 4<<10)
				k, err := c.Read(request)
				if err != nil {
					return
				}
				if strings.Contains(string(request[:k]), " /until-close ") {
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n") // the node sends it on in chunks
				} else {
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", floodSize)
				}
				for left := floodSize; left > 0; left -= len(piece) {
					k, err := c.Write(piece)
					f.sent.Add(int64(k))
					if err != nil {
						return
					}
				}
			})
		}
	}()
	return f
}

// settle waits until the flood stands still.
func (f *flood) settle(t *testing.T) {
	last, since := int64(-1), time.Now()
	fleettest.Wait(t, 30*time.Second, "the flood to stand still", func() bool {
		if now := f.sent.Load(); now != last {
			last, since = now, time.Now()
		}
		return time.Since(since) > 300*time.Millisecond
	})
}

// TestAThousandSlowReadersHoldABoundedAmount lets a thousand clients ask for 100 MiB
// each and read next to nothing, by each of the ways that bytes take through a node.
func TestAThousandSlowReadersHoldABoundedAmount(t *testing.T) {
	const (
		each = 200
		// What waits for a client that does not read is at most what a socket may have
		// waiting, 64 KiB, and one read. With TLS a record's buffers come to it.
		bound = 224 << 10
	)
	needDescriptors(t, 5*each+1000)
	f := newFlood(t)
	p := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	n := fleettest.Standalone(t, httpsListener+certificateDocument(t, "site", p)+`
kind: Listener
name: http
spec: {port: 8080, protocol: HTTP}
---
kind: Listener
name: tcp
spec: {port: 8081, protocol: TCP}
---
kind: Upstream
name: flood
spec: {endpoints: [{address: "`+f.Addr().String()+`"}], pool: {maxConnections: 4096}}
---
kind: Route
name: all
spec: {listeners: [http, https], forward: [{upstream: flood}], timeouts: {request: 10m}}
---
kind: Route
name: tcp
spec: {listeners: [tcp], forward: [{upstream: flood}]}
`)
	ask := func(c net.Conn, path string) error {
		_, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 4<<10))
		}
		return err
	}
	h2 := &http.Transport{
		Protocols: new(http.Protocols),
		HTTP2:     &http.HTTP2Config{MaxReceiveBufferPerStream: 16 << 10},
	}
	h2.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(h2.CloseIdleConnections)
	for _, way := range []struct {
		name string
		open func() (io.Closer, error)
	}{
		{"HTTP/1.1", func() (io.Closer, error) {
			c, err := net.Dial("tcp", n.Address+":8080")
			if err != nil {
				return nil, err
			}
			return c, ask(c, "/")
		}},
		{"HTTP/1.1 in chunks", func() (io.Closer, error) {
			c, err := net.Dial("tcp", n.Address+":8080")
			if err != nil {
				return nil, err
			}
			return c, ask(c, "/until-close")
		}},
		{"TLS", func() (io.Closer, error) {
			c, err := tls.Dial("tcp", n.Address+":8443", &tls.Config{InsecureSkipVerify: true, ServerName: "shop.test"})
			if err != nil {
				return nil, err
			}
			return c, ask(c, "/")
		}},
		{"a relay", func() (io.Closer, error) {
			c, err := net.Dial("tcp", n.Address+":8081")
			if err != nil {
				return nil, err
			}
			return c, ask(c, "/")
		}},
		{"HTTP/2", func() (io.Closer, error) {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.Address+":8080/", strings.NewReader(""))
			resp, err := h2.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			if resp.ProtoMajor != 2 {
				t.Errorf("%s", resp.Proto)
			}
			return resp.Body, nil
		}},
	} {
		before := n.Resident()
		for i := range each {
			c, err := way.open()
			if err != nil {
				t.Fatalf("%s: client %d: %v", way.name, i, err)
			}
			t.Cleanup(func() { c.Close() })
		}
		f.settle(t)
		grown := n.Resident() - before
		t.Logf("%s: %d KiB for each of %d readers", way.name, grown>>10/each, each)
		if grown > each*bound {
			t.Errorf("%s: %d readers hold %d MiB, at most %d are expected", way.name, each, grown>>20, each*bound>>20)
		}
	}
	if got := f.sent.Load(); got > 5*each*floodSize/4 {
		t.Errorf("the endpoint could send %d MiB to clients that read nothing", got>>20)
	}
}
