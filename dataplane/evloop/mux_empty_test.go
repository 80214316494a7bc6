//go:build linux

package evloop

import (
	"bytes"
	"net/http"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestARequestThatAnEmptyFrameEndsHasNoBody where it comes with the head: so do some clients end each
// request, and there are servers that refuse a GET in chunks.
func TestARequestThatAnEmptyFrameEndsHasNoBody(t *testing.T) {
	seen := make(chan *http.Request, 1)
	see := func(_ http.ResponseWriter, r *http.Request) { seen <- r }
	one := newUpstream("u", startBackend(t, see))
	two, _ := h2backend(t, see)
	for version, u := range map[int]*table.Upstream{1: one, 2: two} {
		n := startNode(t, 1)
		n.apply(nil, forwardAll(u))
		c, _ := n.framesTo()
		for i, method := range []string{"GET", "POST"} {
			var frames bytes.Buffer
			f := xhttp2.NewFramer(&frames, nil)
			id := uint32(1 + 2*i)
			if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: requestBlock(method), EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
			if err := f.WriteData(id, true, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(frames.Bytes()); err != nil {
				t.Fatal(err)
			}
			r := <-seen
			if r.ProtoMajor != version || r.Method != method || len(r.TransferEncoding) > 0 || r.ContentLength != 0 {
				t.Errorf("HTTP/%d: %s in %v, %d bytes", r.ProtoMajor, r.Method, r.TransferEncoding, r.ContentLength)
			}
			if rec := n.records.wait(t, i+1); rec.Status != 200 {
				t.Errorf("HTTP/%d: %d %s", version, rec.Status, rec.Reason)
			}
		}
	}
}
