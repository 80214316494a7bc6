//go:build linux

package evloop

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestAnHTTP2EndpointThatResetsWithMuchUnsentIsNoticed at once: what waits for its
// socket does not keep the end from being read.
func TestAnHTTP2EndpointThatResetsWithMuchUnsentIsNoticed(t *testing.T) {
	n := startNode(t, 1)
	reset := make(chan struct{})
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1<<31 - 1})
		_ = f.WriteWindowUpdate(0, 1<<30)
		<-reset
		_ = c.(*net.TCPConn).SetLinger(0)
	}))
	u.HTTP2 = true
	n.apply(nil, forwardAll(u))
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.address+"/", io.LimitReader(zeros{}, 1<<30))
	go func() {
		if resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req); err == nil {
			resp.Body.Close()
		}
	}()
	eventually(t, "much unsent", func() bool { return n.engine.loops[0].counts.bufferBytes.Load() > highWater })
	time.Sleep(50 * time.Millisecond) // until nothing moves any more
	close(reset)
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonUpstreamReset && r.Reason != exchange.ReasonUpstreamClosed {
		t.Errorf("%d %s %s", r.Status, r.Reason, r.Detail)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestAnAnswerThatIsWholeOutlivesItsHTTP2Connection: the client takes it in its own
// time, whatever the endpoint says behind it (RFC 9113 section 8.1).
func TestAnAnswerThatIsWholeOutlivesItsHTTP2Connection(t *testing.T) {
	const frame, frames = 16 << 10, 3 // more than a stream of the client's keeps before its endpoint's is stopped
	for name, behind := range map[string]func(c net.Conn, f *xhttp2.Framer){
		"the end": func(net.Conn, *xhttp2.Framer) {},
		"GOAWAY":  func(_ net.Conn, f *xhttp2.Framer) { _ = f.WriteGoAway(1, xhttp2.ErrCodeNo, nil) },
		"a reset": func(c net.Conn, _ *xhttp2.Framer) { _ = c.(*net.TCPConn).SetLinger(0) },
		"RST_STREAM": func(c net.Conn, f *xhttp2.Framer) {
			_ = f.WriteRSTStream(1, xhttp2.ErrCodeNo)
			_, _ = io.Copy(io.Discard, c)
		},
		"nonsense": func(c net.Conn, f *xhttp2.Framer) { _ = f.WriteRawFrame(xhttp2.FramePing, 0, 0, []byte{1}) },
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, 1)
			over := make(chan struct{})
			u := newUpstream("u", rawServer(t, func(c net.Conn) {
				defer close(over)
				_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
				f := xhttp2.NewFramer(c, c)
				_ = f.WriteSettings()
				for asked := false; !asked; {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					_, asked = frame.(*xhttp2.HeadersFrame)
				}
				_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x88}, EndHeaders: true})
				for i := range frames {
					_ = f.WriteData(1, i+1 == frames, make([]byte, frame))
				}
				eventually(t, "all of it", func() bool { return n.engine.loops[0].counts.bufferBytes.Load() > frame*frames })
				behind(c, f)
			}))
			u.HTTP2 = true
			route := forwardAll(u)
			route.Retry.Attempts = 1
			n.apply(nil, route)
			c, f := n.framesTo(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			// A request that has not ended: so the endpoint's stream has not either.
			if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("POST"), EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
			if name != "RST_STREAM" {
				<-over
			}
			time.Sleep(50 * time.Millisecond) // for what came behind: it is to have no effect
			_ = f.WriteWindowUpdate(1, 1<<20)
			for got, ended := 0, false; !ended; {
				frame, err := f.ReadFrame()
				if err != nil {
					t.Fatalf("%v after %d bytes", err, got)
				}
				switch frame := frame.(type) {
				case *xhttp2.RSTStreamFrame:
					t.Fatalf("%s after %d bytes", frame.ErrCode, got)
				case *xhttp2.DataFrame:
					got += len(frame.Data())
					if ended = frame.StreamEnded(); ended && got != 3*16<<10 {
						t.Errorf("%d bytes", got)
					}
				}
			}
			if r := n.records.wait(t, 1); r.Status != 200 || r.Reason != exchange.ReasonNone {
				t.Errorf("%d %s %s", r.Status, r.Reason, r.Detail)
			}
			eventually(t, "the end of the attempt", func() bool {
				inFlight, open, _ := n.engine.EndpointLoad(u.Endpoints[0].Slot)
				return inFlight == 0 && (open == 0 || name == "RST_STREAM")
			})
		})
	}
}
