//go:build linux

package evloop

import (
	"bytes"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

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

// TestAHEADThatIsRefusedInHTTP2HasNoBody (RFC 9110 section 9.3.2), whatever it is refused for, and
// however much of its head was read.
func TestAHEADThatIsRefusedInHTTP2HasNoBody(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", "127.0.0.1:1")))
	for _, c := range []struct {
		name, status string
		block        []byte
	}{
		{"many fields", "431", bytes.Repeat([]byte{0x90}, 200)},
		{"very many fields", "431", bytes.Repeat([]byte{0x90}, aheadOfHTTP2)},
		{"an expectation", "417", append(append([]byte{0x0f, 0x14, 4}, "body"...), bytes.Repeat([]byte{0x90}, 2)...)},
		{"a long field", "431", literal("x-long", strings.Repeat("~", 70_000))},
	} {
		for _, method := range []string{"HEAD", "GET"} {
			_, f := n.framesTo()
			f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			block := append(requestBlock(method), c.block...)
			first := block[:min(len(block), 16<<10)]
			if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: true, EndHeaders: len(first) == len(block)}); err != nil {
				t.Fatal(err)
			}
			for rest := block[len(first):]; len(rest) > 0; {
				piece := rest[:min(len(rest), 16<<10)]
				rest = rest[len(piece):]
				if err := f.WriteContinuation(1, len(rest) == 0, piece); err != nil {
					t.Fatal(err)
				}
			}
			status, length, body, ended := "", "", 0, false
			for !ended {
				frame, err := f.ReadFrame()
				if err != nil {
					t.Fatalf("%s, %s: %v", method, c.name, err)
				}
				switch frame := frame.(type) {
				case *xhttp2.MetaHeadersFrame:
					status, ended = frame.PseudoValue("status"), frame.StreamEnded()
					for _, field := range frame.RegularFields() {
						if field.Name == "content-length" {
							length = field.Value
						}
					}
				case *xhttp2.DataFrame:
					body, ended = body+len(frame.Data()), frame.StreamEnded()
				}
			}
			if status != c.status || (body > 0) != (method == "GET") || length == "" {
				t.Errorf("%s, %s: status %s, a length of %q, %d bytes of body", method, c.name, status, length, body)
			}
		}
	}
	if r := n.records.wait(t, 8); string(r.Method) != "GET" {
		t.Errorf("the record's method is %q", r.Method)
	}
}

// aheadOfHTTP2 fields are looked at before they are decoded.
const aheadOfHTTP2 = 2000

// literal is a field of a block that goes into no table.
func literal(name, value string) []byte {
	b := append([]byte{0x00, byte(len(name))}, name...)
	length := len(value) - 0x7f
	b = append(b, 0x7f)
	for ; length >= 0x80; length >>= 7 {
		b = append(b, byte(length)|0x80)
	}
	return append(append(b, byte(length)), value...)
}
