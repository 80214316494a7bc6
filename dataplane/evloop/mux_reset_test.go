//go:build linux

package evloop

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestARequestThatIsResetAtOnceReachesNoEndpoint sends what resets a request in the bytes of that, more
// often than there are frames in a turn; another request, behind them, is answered.
func TestARequestThatIsResetAtOnceReachesNoEndpoint(t *testing.T) {
	const requests = 30
	for _, c := range []struct {
		name   string
		reset  func(f *xhttp2.Framer, id uint32) error
		status uint16
	}{
		{"by its client", func(f *xhttp2.Framer, id uint32) error { return f.WriteRSTStream(id, xhttp2.ErrCodeCancel) }, 499},
		{"for a window that is too large", func(f *xhttp2.Framer, id uint32) error { return f.WriteWindowUpdate(id, math.MaxInt32) }, 400},
	} {
		for before := range 3 { // frames: turns end at another one
			t.Run(fmt.Sprintf("%s, behind %d", c.name, before), func(t *testing.T) {
				var opened, asked atomic.Int64
				backend := rawServer(t, func(c net.Conn) {
					opened.Add(1)
					buf := make([]byte, 4096)
					for {
						if _, err := c.Read(buf); err != nil {
							return
						}
						asked.Add(1)
						_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
					}
				})
				n := startNode(t, 1)
				n.apply(nil, forwardAll(newUpstream("u", backend)))
				conn, _ := n.framesTo()
				eventually(t, "HTTP/2", func() bool { return n.engine.clients() == 1 })
				var all wireBuffer
				f := xhttp2.NewFramer(&all, conn)
				for range before {
					_ = f.WritePriority(1, xhttp2.PriorityParam{StreamDep: 3})
				}
				request := func(id uint32) {
					_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true})
				}
				for i := range uint32(requests) {
					request(1 + 2*i)
					if err := c.reset(f, 1+2*i); err != nil {
						t.Fatal(err)
					}
				}
				request(1 + 2*requests)
				_, _ = conn.Write(all)
				for answered := false; !answered; {
					frame, err := f.ReadFrame()
					if err != nil {
						t.Fatal(err)
					}
					if h, ok := frame.(*xhttp2.HeadersFrame); ok {
						if answered = true; h.StreamID != 1+2*requests {
							t.Errorf("stream %d was answered", h.StreamID)
						}
					}
				}
				if opened.Load() != 1 || asked.Load() != 1 {
					t.Errorf("%d connections and %d requests to the endpoint for one that was wanted", opened.Load(), asked.Load())
				}
				for i := range requests + 1 {
					if r := n.records.wait(t, i+1); i < requests && (r.Status != c.status || r.Upstream != "u") {
						t.Errorf("record %d: %d %s", i, r.Status, r.Upstream)
					}
				}
				if inFlight, _, waiting := n.engine.EndpointLoad(0); inFlight != 0 || waiting != 0 {
					t.Errorf("%d are in flight, %d wait", inFlight, waiting)
				}
			})
		}
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
