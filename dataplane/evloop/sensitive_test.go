//go:build linux

package evloop

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// marked is a field block with a field that no hop may keep in a table.
func marked(lines ...string) []byte {
	var secret bytes.Buffer
	_ = hpack.NewEncoder(&secret).WriteField(hpack.HeaderField{Name: "x-token", Value: "secret", Sensitive: true})
	return append(onWire(lines...), secret.Bytes()...)
}

// isMarked says that a field of the name came so.
func isMarked(frame *xhttp2.MetaHeadersFrame, name string) bool {
	for _, f := range frame.Fields {
		if f.Name == name && f.Sensitive {
			return true
		}
	}
	return false
}

// TestAFieldThatNoHopMayKeepIsMarkedSoForTheNext in both directions, in an interim answer and
// in trailers too (RFC 7541 section 6.2.3).
func TestAFieldThatNoHopMayKeepIsMarkedSoForTheNext(t *testing.T) {
	seen := make(chan bool, 2)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if head, ok := frame.(*xhttp2.MetaHeadersFrame); ok {
				seen <- isMarked(head, "x-token")
				if !head.StreamEnded() {
					continue
				}
				for _, block := range [][]byte{marked(":status: 103"), marked(":status: 200")} {
					_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: head.StreamID, BlockFragment: block, EndHeaders: true})
				}
				_ = f.WriteData(head.StreamID, false, []byte("body"))
				_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: head.StreamID, BlockFragment: marked("x-plain: yes"), EndHeaders: true, EndStream: true})
			}
		}
	}))
	u.HTTP2 = true
	n := startNode(t, 1)
	n.apply(nil, forwardAll(u))
	c, f := n.framesTo()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	block := marked(":method: PUT", ":scheme: http", ":path: /", ":authority: a")
	_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
	_ = f.WriteData(1, false, []byte("body"))
	if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: marked("x-plain: yes"), EndStream: true, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for ended := false; !ended; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if head, ok := frame.(*xhttp2.MetaHeadersFrame); ok {
			if !isMarked(head, "x-token") {
				t.Errorf("status %q: it is not marked for the client", head.PseudoValue("status"))
			}
			if isMarked(head, "x-plain") {
				t.Error("another one is")
			}
			ended = head.StreamEnded()
		}
	}
	for _, where := range []string{"head", "trailers"} {
		if !<-seen {
			t.Errorf("%s: it is not marked for the endpoint", where)
		}
	}
}
