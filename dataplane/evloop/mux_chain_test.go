//go:build linux

package evloop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// narrow is a way to an address, at a UNIX socket, that takes few bytes: what the
// kernel would buffer on the loopback is more than the windows of HTTP/2.
func narrow(t *testing.T, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "way")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	t.Cleanup(func() { l.Close(); open.Wait() })
	one := func(near *net.UnixConn) {
		defer near.Close()
		far, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer far.Close()
		_ = near.SetWriteBuffer(16 << 10)
		_ = far.(*net.TCPConn).SetWriteBuffer(32 << 10)
		var both sync.WaitGroup
		both.Go(func() { pour(far, near); _ = far.(*net.TCPConn).CloseWrite() })
		both.Go(func() { pour(near, far); _ = near.CloseWrite() })
		end := context.AfterFunc(t.Context(), func() { near.Close(); far.Close() })
		defer end()
		both.Wait()
	}
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { one(c.(*net.UnixConn)) })
		}
	})
	return path
}

// pour copies by read and write: a splice would hold as much as a pipe does.
func pour(to io.Writer, from io.Reader) {
	_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
}

// TestTwoNodesInAChainDoNotWaitForEachOther: bulk goes both ways over the one
// connection between them, which takes few bytes. Each goes on reading while its
// writes are full, or neither would ever write again.
func TestTwoNodesInAChainDoNotWaitForEachOther(t *testing.T) {
	const streams, size = 24, 256 << 10
	backend, _ := h2backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	second := startNode(t, 1)
	second.apply(func(l *table.Listener) { l.ReceiveBuffer, l.SendBuffer = 32<<10, 32<<10 }, forwardAll(backend))
	first := startNode(t, 1)
	u := newUpstream("second", "unix:"+narrow(t, second.address))
	u.HTTP2 = true
	first.apply(nil, forwardAll(u))

	client := h2client(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	var all sync.WaitGroup
	for i := range streams {
		all.Go(func() {
			begin := time.Now()
			resp, err := client.Post(fmt.Sprintf("http://%s/%d", first.address, i), "x/y", bytes.NewReader(sent))
			if err != nil {
				t.Errorf("stream %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("stream %d: %d bytes of %d after %s, %v", i, len(got), len(sent), time.Since(begin), err)
			}
		})
	}
	all.Wait()
	for _, n := range []*node{first, second} {
		if held := n.engine.BufferBytes(); held > 16<<20 {
			t.Errorf("%d bytes are held", held)
		}
	}
}
