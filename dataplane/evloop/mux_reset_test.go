//go:build linux

package evloop

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
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

// TestAConnectionOfATrustedProxyOutlivesWhatItsClientsReset unless a PROXY header says that
// it is one client's.
func TestAConnectionOfATrustedProxyOutlivesWhatItsClientsReset(t *testing.T) {
	n := startNode(t, 1)
	held := forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })))
	for _, c := range []struct {
		trusted bool
		header  string
		ends    bool
	}{
		{false, "", true},
		{true, "", false},
		{true, "PROXY TCP4 192.0.2.1 127.0.0.1 5000 80\r\n", true},
		{true, "PROXY UNKNOWN\r\n", false},
	} {
		n.apply(func(l *table.Listener) {
			if l.ProxyProtocol = table.ProxyOptional; c.trusted {
				l.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
			}
		}, held)
		conn := n.from("127.0.0.1")
		_, _ = io.WriteString(conn, c.header+http2.Preface)
		f := xhttp2.NewFramer(conn, conn)
		_ = f.WriteSettings()
		for i := range uint32(400) {
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1 + 2*i, BlockFragment: requestBlock("POST"), EndHeaders: true})
			_ = f.WriteRSTStream(1+2*i, xhttp2.ErrCodeCancel)
		}
		_ = f.WritePing(false, [8]byte{1})
		for told := false; !told; {
			switch frame, err := f.ReadFrame(); frame := frame.(type) {
			case *xhttp2.GoAwayFrame:
				if told = true; !c.ends {
					t.Errorf("%+v: it ended by %s", c, frame.DebugData())
				}
			case *xhttp2.PingFrame:
				if told = true; c.ends {
					t.Errorf("%+v: it goes on", c)
				}
			case nil:
				t.Fatalf("%+v: %v", c, err)
			}
		}
	}
}
