//go:build linux

package evloop

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestARequestThatIsResetAtOnceReachesNoEndpoint sends the reset in the bytes of the
// request; another request, behind it, is answered.
func TestARequestThatIsResetAtOnceReachesNoEndpoint(t *testing.T) {
	var opened atomic.Int64
	backend := rawServer(t, func(c net.Conn) {
		opened.Add(1)
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	const reset = 7 // with the last request 15 frames: the loop handles as many at a time
	c := n.from("127.0.0.1")
	var all wireBuffer
	f := xhttp2.NewFramer(&all, c)
	request := func(id uint32) {
		if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
	}
	all = append(all, http2.Preface...)
	_ = f.WriteSettings()
	_, _ = c.Write(all)
	eventually(t, "HTTP/2", func() bool { return n.engine.clients() == 1 })
	all = all[:0]
	for i := range uint32(reset) {
		request(1 + 2*i)
		_ = f.WriteRSTStream(1+2*i, xhttp2.ErrCodeCancel)
	}
	request(1 + 2*reset)
	_, _ = c.Write(all)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if h, ok := frame.(*xhttp2.HeadersFrame); ok {
			if h.StreamID != 1+2*reset {
				t.Errorf("stream %d was answered", h.StreamID)
			}
			break
		}
	}
	if got := opened.Load(); got != 1 {
		t.Errorf("%d connections to the endpoint for one request that was wanted", got)
	}
	for i := range reset + 1 {
		if r := n.records.wait(t, i+1); i < reset && (r.Status != 499 || r.Upstream != "u") {
			t.Errorf("record %d: %d %s", i, r.Status, r.Upstream)
		}
	}
	if inFlight, _, waiting := n.engine.EndpointLoad(0); inFlight != 0 || waiting != 0 {
		t.Errorf("%d are in flight, %d wait", inFlight, waiting)
	}
}

// wireBuffer keeps what is written.
type wireBuffer []byte

func (w *wireBuffer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
