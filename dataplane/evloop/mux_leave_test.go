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
