//go:build linux

package evloop

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// TestABodyThatIsMalformedInTheBytesOfItsHeadReachesNoEndpoint: neither is a connection opened
// for it, nor a kept one lost.
func TestABodyThatIsMalformedInTheBytesOfItsHeadReachesNoEndpoint(t *testing.T) {
	var opened, ended, bytes atomic.Int64
	backend := rawServer(t, func(c net.Conn) {
		opened.Add(1)
		defer ended.Add(1)
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			bytes.Add(int64(n))
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	const head = "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	records := 0
	malformed := func() {
		for body, detail := range map[string]string{
			"zz\r\n":                         "bad_chunk_size",
			"1;" + strings.Repeat("a", 1000): "chunk_extension_too_large",
			"0\r\na : b\r\n\r\n":             "space_before_colon",
		} {
			got := n.talk(head + body)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("%q: %q", body, got)
			}
			records++
			if r := n.records.wait(t, records); r.Reason != exchange.ReasonMalformedRequest || r.Detail != detail || r.Upstream != "u" || r.Status != 400 {
				t.Errorf("%q: %s (%s), %d, of %q", body, r.Reason, r.Detail, r.Status, r.Upstream)
			}
		}
	}
	malformed()
	if opened.Load() > 0 {
		t.Errorf("%d connections to the endpoint", opened.Load())
	}
	if resp := n.get("/"); resp.StatusCode != 204 {
		t.Fatal(resp.Status)
	}
	records++
	n.records.wait(t, records)
	before := bytes.Load()
	malformed()
	if opened.Load() != 1 || ended.Load() > 0 || bytes.Load() != before {
		t.Errorf("%d connections, %d ended, %d bytes more", opened.Load(), ended.Load(), bytes.Load()-before)
	}
	if resp := n.get("/"); resp.StatusCode != 204 || opened.Load() != 1 {
		t.Errorf("%s, by connection %d", resp.Status, opened.Load())
	}
	if inFlight, _, waiting := n.engine.EndpointLoad(0); inFlight != 0 || waiting != 0 {
		t.Errorf("%d are in flight, %d wait", inFlight, waiting)
	}
}
