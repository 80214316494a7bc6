//go:build linux

package evloop

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
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
	eventually(t, "a part that is kept", func() bool { return n.engine.loops[0].held.Load() > 0 })
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
	const patience = 4 * time.Second // more than lastChance, and the stream at hand
	_ = c.SetReadDeadline(time.Now().Add(patience))
	go func() {
		for id := uint32(3); ask(id) == nil; id += 2 {
			time.Sleep(100 * time.Millisecond)
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
