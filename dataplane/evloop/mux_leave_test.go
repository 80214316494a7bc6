//go:build linux

package evloop

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestNothingIsParsedBehindTheFrameThatEndsAConnection: what is kept of its bytes
// goes back to the pool then, and is written over.
func TestNothingIsParsedBehindTheFrameThatEndsAConnection(t *testing.T) {
	asked, held := make(chan struct{}), make(chan struct{})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(http.ResponseWriter, *http.Request) { close(asked); <-held }))))
	defer close(held)
	v := leavingFrom(n)
	v.get(1, "/")
	<-asked
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	v.expect(sentAway...)
	_ = v.f.WritePing(true, v.ping)
	v.expect("GOAWAY 1 NO_ERROR")
	c, f := v.c, v.f
	var frames bytes.Buffer
	more := xhttp2.NewFramer(&frames, nil)
	_ = more.WriteRSTStream(1, xhttp2.ErrCodeCancel)          // the last stream, behind which we close
	_ = more.WriteRawFrame(xhttp2.FramePing, 0, 0, []byte{1}) // would be refused
	_, _ = c.Write(frames.Bytes()[:7])
	eventually(t, "a part that is kept", func() bool { return n.engine.loops[0].counts.bufferBytes.Load() > 0 })
	time.Sleep(10 * time.Millisecond) // nothing is to happen meanwhile, so there is nothing to wait for
	_, _ = c.Write(frames.Bytes()[7:])
	if _, _, err := endOf(f); err != nil {
		t.Error(err)
	}
	for _, r := range http2.Reasons() {
		if n.engine.stats.RefusalHTTP2(uint8(r)) > 0 {
			t.Errorf("refused for %s", r)
		}
	}
}

// TestAClientThatDoesNotAnswerIsLeftInTime however many streams it begins meanwhile.
func TestAClientThatDoesNotAnswerIsLeftInTime(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	c, f := n.framesTo()
	ask := func(id uint32) error {
		return f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true})
	}
	if err := ask(1); err != nil {
		t.Fatal(err)
	}
	n.records.wait(t, 1)
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	// In vain where each stream puts off the end: it goes on asking for as long as it waits.
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	go func() {
		for id := uint32(3); ask(id) == nil; id += 2 {
			select {
			case <-pace.C:
			case <-t.Context().Done():
			}
		}
	}()
	for leaving := 0; leaving < 2; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("%v after %d GOAWAY", err, leaving)
		}
		if _, ok := frame.(*xhttp2.GoAwayFrame); ok {
			leaving++
		}
	}
}

// TestARequestThatIsCompleteIsNotReset where the node answers it at once and sends its
// client away: nothing of it is unwanted (RFC 9113 section 8.1).
func TestARequestThatIsCompleteIsNotReset(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, respondAll())
	v := leavingFrom(n)
	v.get(1, "/")
	v.expect("END 1")
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	v.expect(sentAway...)
	v.get(3, "/")
	v.expect("END 3")
	_ = v.f.WritePing(true, v.ping)
	v.expect("GOAWAY 3 NO_ERROR")
}

// TestAnAnswerOutlivesAConnectionThatIsLeft: its client is slow, and gives back windows as
// it reads what the kernel had when we had sent all.
func TestAnAnswerOutlivesAConnectionThatIsLeft(t *testing.T) {
	const size = 256 << 10
	n := startNode(t, 1)
	route := respondAll()
	route.Respond.Body = make([]byte, size)
	n.apply(func(l *table.Listener) { l.SendBuffer = size }, route)
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<10) })
	}}
	c, err := dialer.Dial("tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(c, http2.Preface)
	f := xhttp2.NewFramer(c, c)
	_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 2 * size})
	_ = f.WriteWindowUpdate(0, 2*size)
	if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	n.records.wait(t, 1)
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	_ = f.WritePing(true, [8]byte{})                     // as if it had read what stands behind the answer
	time.Sleep(time.Duration(lingerTime + lingerTime/8)) // for which it reads nothing
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	got := 0
	for ended := false; !ended; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("%v after %d bytes of %d", err, got, size)
		}
		if data, ok := frame.(*xhttp2.DataFrame); ok {
			got, ended = got+len(data.Data()), data.StreamEnded()
			_ = f.WriteWindowUpdate(0, 1)
			<-pace.C
		}
	}
	if got != size {
		t.Errorf("%d bytes of %d", got, size)
	}
}
