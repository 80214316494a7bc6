//go:build linux

package evloop

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// requestBlock is the field block of a request for "/" at "a".
func requestBlock(method string) []byte {
	block := append([]byte{0x86, 0x84, 0x01, 1, 'a', 0x02, byte(len(method))}, method...)
	return block
}

// framesTo opens a connection in HTTP/2 and sends the preface.
func (n *node) framesTo(settings ...xhttp2.Setting) (net.Conn, *xhttp2.Framer) {
	n.t.Helper()
	c := n.from("127.0.0.1")
	_, _ = io.WriteString(c, http2.Preface)
	f := xhttp2.NewFramer(c, c)
	if err := f.WriteSettings(settings...); err != nil {
		n.t.Fatal(err)
	}
	return c, f
}

// endOf reads frames until the connection ends; it tells the code of GOAWAY and of
// the last RST_STREAM, and -1 where there was none.
func endOf(f *xhttp2.Framer) (goAway, reset int, err error) {
	goAway, reset = -1, -1
	for {
		frame, err := f.ReadFrame()
		if errors.Is(err, io.EOF) {
			return goAway, reset, nil
		} else if err != nil {
			return goAway, reset, err
		}
		switch frame := frame.(type) {
		case *xhttp2.GoAwayFrame:
			goAway = int(frame.ErrCode)
		case *xhttp2.RSTStreamFrame:
			reset = int(frame.ErrCode)
			return goAway, reset, nil
		}
	}
}

// TestSlowClientsInHTTP2AreToldToBeCalmAndCounted has one of every kind.
func TestSlowClientsInHTTP2AreToldToBeCalmAndCounted(t *testing.T) {
	const short = 200 * time.Millisecond
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Timeouts.RequestHead, l.Timeouts.StreamIdle = short, short },
		forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
			switch r.Method {
			case http.MethodGet:
				_, _ = w.Write(make([]byte, 4<<20))
			case http.MethodDelete:
				_, _ = w.Write([]byte("done"))
			}
		}))))
	closed := xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0}
	calm := int(xhttp2.ErrCodeEnhanceYourCalm)
	for _, c := range []struct {
		name          string
		do            func() (*xhttp2.Framer, error)
		goAway, reset int
		counted       http2.Reason
	}{
		{"no SETTINGS", func() (*xhttp2.Framer, error) {
			c := n.from("127.0.0.1")
			_, err := io.WriteString(c, http2.Preface)
			return xhttp2.NewFramer(c, c), err
		}, calm, -1, http2.SlowHead},
		{"half a field block", func() (*xhttp2.Framer, error) {
			_, f := n.framesTo()
			return f, f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("GET"), EndStream: true})
		}, calm, -1, http2.SlowHead},
		{"half a frame", func() (*xhttp2.Framer, error) {
			c, f := n.framesTo()
			_, err := c.Write([]byte{0, 0, 8, 6, 0})
			return f, err
		}, calm, -1, http2.SlowHead},
		{"windows that stay closed", func() (*xhttp2.Framer, error) {
			_, f := n.framesTo(closed)
			return f, f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true})
		}, -1, calm, http2.SlowReader},
		{"windows that stay closed behind the end of the exchange", func() (*xhttp2.Framer, error) {
			_, f := n.framesTo(closed)
			return f, f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("DELETE"), EndStream: true, EndHeaders: true})
		}, -1, calm, http2.SlowReader},
		{"a body of nothing that does not end", func() (*xhttp2.Framer, error) {
			_, f := n.framesTo()
			block := append(requestBlock("POST"), 0x0f, 0x0d, 1, '0') // content-length: 0
			return f, f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
		}, -1, calm, http2.SlowBody},
	} {
		before := n.engine.stats.RefusalHTTP2(uint8(c.counted))
		begin := time.Now()
		f, err := c.do()
		if err != nil {
			t.Fatal(err)
		}
		goAway, reset, err := endOf(f)
		if goAway != c.goAway || reset != c.reset || err != nil {
			t.Errorf("%s: GOAWAY %d, reset %d, %v", c.name, goAway, reset, err)
		}
		if took := time.Since(begin); took < short {
			t.Errorf("%s: it took %s", c.name, took)
		}
		if got := n.engine.stats.RefusalHTTP2(uint8(c.counted)) - before; got != 1 {
			t.Errorf("%s: %s was counted %d times", c.name, c.counted, got)
		}
	}
}

// TestAnIdleHTTP2ClientIsSentAwayInTime with a word that says that nothing is lost (RFC 9113
// section 6.8), whether it has asked for something or not.
func TestAnIdleHTTP2ClientIsSentAwayInTime(t *testing.T) {
	const short = 150 * time.Millisecond
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Timeouts.Idle = short }, respondAll())
	leave := func(asks bool) (inTime bool) {
		begin := time.Now()
		_, f := n.framesTo()
		if asks {
			if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true}); err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(begin) > short/2 {
			return false // it may have been sent away before it had said all
		}
		goAway, reset, err := endOf(f)
		if goAway != int(xhttp2.ErrCodeNo) || reset != -1 || err != nil {
			t.Errorf("asks %t: GOAWAY %d, reset %d, %v", asks, goAway, reset, err)
		}
		if took := time.Since(begin); took < short {
			t.Errorf("asks %t: it took %s", asks, took)
		}
		return true
	}
	for _, asks := range []bool{false, true} {
		eventually(t, "a client that is not kept from speaking", func() bool { return leave(asks) })
	}
}

// TestAClientHasTimeToReadFromTheEndOfItsExchange, however long ago bytes of an answer
// moved: here its request has taken longer than that.
func TestAClientHasTimeToReadFromTheEndOfItsExchange(t *testing.T) {
	const idle = 1500 * time.Millisecond
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Timeouts.StreamIdle = idle }, forwardAll(newUpstream("u", startBackend(t, echo))))
	c, f := n.framesTo(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("POST"), EndHeaders: true})
	for begun := time.Now(); time.Since(begun) < idle*3/2; time.Sleep(50 * time.Millisecond) {
		_ = f.WriteData(1, false, []byte("a"))
	}
	_ = f.WriteData(1, true, nil)
	n.records.wait(t, 1)
	time.Sleep(idle * 2 / 3) // within its time, and beyond the exchange's last deadline
	_ = f.WriteWindowUpdate(1, 1<<10)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *xhttp2.RSTStreamFrame:
			t.Fatalf("reset: %s", frame.ErrCode)
		case *xhttp2.DataFrame:
			if frame.StreamEnded() {
				return
			}
		}
	}
}
