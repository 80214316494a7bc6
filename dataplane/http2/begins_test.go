package http2_test

import (
	"bytes"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	xhttp2 "golang.org/x/net/http2"
)

// TestBeginsNextIsBeforeHeadersAlone, and not before an event that the frame before it still has.
func TestBeginsNextIsBeforeHeadersAlone(t *testing.T) {
	block := blockOf(":method", "POST", ":scheme", "https", ":authority", "a", ":path", "/")
	var all bytes.Buffer
	f := xhttp2.NewFramer(&all, nil)
	all.WriteString(http2.Preface)
	_ = f.WriteSettings()
	head := func(id uint32, end bool) {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: end, EndHeaders: true})
	}
	head(1, true)
	head(3, false)
	_ = f.WriteData(3, false, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0}) // a body like a frame's header
	_ = f.WriteRSTStream(3, xhttp2.ErrCodeCancel)
	head(5, false)

	var c http2.Conn
	c.Init(http2.Server, http2.Options{})
	c.AppendPreface(nil)
	var h message.Head
	for _, want := range []struct {
		begins bool
		kind   http2.Kind
	}{
		{false, http2.Noted}, {false, http2.Settings},
		{true, http2.Head}, {false, http2.End},
		{true, http2.Head}, {false, http2.Data}, {false, http2.Reset},
		{true, http2.Head}, {false, http2.NeedMore},
	} {
		begins, part := c.BeginsNext(all.Bytes()), c.BeginsNext(all.Bytes()[:min(all.Len(), 8)])
		ev, _ := c.Next(0, all.Bytes(), &h, nil)
		if all.Next(ev.N); begins != want.begins || ev.Kind != want.kind || part {
			t.Errorf("begins: %t, of part of it: %t, event %v; %+v were expected", begins, part, ev.Kind, want)
		}
	}
}
