//go:build linux

package evloop

import (
	"bytes"
	"context"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestNothingIsParsedBehindTheFrameThatEndsAConnection: what is kept of its bytes
// goes back to the pool then, and is written over.
func TestNothingIsParsedBehindTheFrameThatEndsAConnection(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil)
	c, f := n.framesTo()
	if _, err := f.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	if err := n.engine.SetDrained(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	for asked := false; !asked; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		ping, ok := frame.(*xhttp2.PingFrame)
		asked = ok && !ping.IsAck()
	}
	var frames bytes.Buffer
	more := xhttp2.NewFramer(&frames, nil)
	_ = more.WritePing(true, [8]byte{})                       // behind which we say which streams were taken, and close
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
