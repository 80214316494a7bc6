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
	_ = f.WriteData(3, false, []byte{7, 0, 0, 0, 1, 0, 0, 0, 0, 0}) // a body like a frame's header
	_ = f.WriteRSTStream(3, xhttp2.ErrCodeCancel)
	head(5, false)

	var c http2.Conn
	c.Init(http2.Server, http2.Options{})
	c.AppendPreface(nil)
	var h message.Head
	for _, want := range []struct {
		begins bool
		kind   http2.Kind
		most   int // bytes that are there; 0: all
	}{
		{false, http2.Noted, 0},
		{false, http2.Settings, 0},
		{true, http2.Head, 0},
		{false, http2.End, 0},
		{true, http2.Head, 0},
		{false, http2.Data, 10},
		{false, http2.Data, 0},
		{false, http2.Reset, 0},
		{true, http2.Head, 0},
		{false, http2.NeedMore, 0},
	} {
		in := all.Bytes()
		if want.most > 0 {
			in = in[:want.most]
		}
		begins, part := c.BeginsNext(in), c.BeginsNext(in[:min(len(in), 8)])
		ev, _ := c.Next(0, in, &h, nil)
		if all.Next(ev.N); begins != want.begins || ev.Kind != want.kind || part {
			t.Errorf("begins: %t, of part of it: %t, event %v; %+v were expected", begins, part, ev.Kind, want)
		}
	}
}
