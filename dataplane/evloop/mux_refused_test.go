//go:build linux

package evloop

import (
	"bytes"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestHeadsThatAreTooLargeAreLoggedSoManyTimes has a client that goes on with heads of
// too many fields: those that are not answered any more write no record.
func TestHeadsThatAreTooLargeAreLoggedSoManyTimes(t *testing.T) {
	const answered, reset = 8, 38
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", "127.0.0.1:1")))
	c := n.from("127.0.0.1")
	var all wireBuffer
	f := xhttp2.NewFramer(&all, c)
	all = append(all, http2.Preface...)
	_ = f.WriteSettings()
	block := append(requestBlock("GET"), bytes.Repeat([]byte{0x90}, 200)...) // accept-encoding, by its number
	for i := range uint32(answered + reset) {
		if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1 + 2*i, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = c.Write(all)
	answers, resets := 0, 0
	for answers+resets < answered+reset {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *xhttp2.HeadersFrame:
			answers++
		case *xhttp2.RSTStreamFrame:
			if frame.ErrCode != xhttp2.ErrCodeEnhanceYourCalm {
				t.Errorf("stream %d was reset with %v", frame.StreamID, frame.ErrCode)
			}
			resets++
		}
	}
	if answers != answered {
		t.Errorf("%d answers and %d resets, want %d answers", answers, resets, answered)
	}
	if got := n.engine.stats.RefusalHTTP2(uint8(http2.TooManyFields)); got != answered+reset {
		t.Errorf("%d were counted, want %d", got, answered+reset)
	}
	if r := n.records.wait(t, answered); r.Status != 431 || !r.HTTP2 {
		t.Errorf("the last record says %d, HTTP/2 %t", r.Status, r.HTTP2)
	}
	n.records.mu.Lock()
	defer n.records.mu.Unlock()
	if got := len(n.records.all); got != answered {
		t.Errorf("%d records, want %d", got, answered)
	}
}
