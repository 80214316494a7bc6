package http2_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// crumbs are so many fields of Cookie, told in one way of RFC 7541.
var crumbs = map[string]func(n int) []byte{
	"into the table": func(n int) (block []byte) {
		for i := range n {
			value := fmt.Sprintf("k%d=%d", i, i)
			block = append(append(block, 0x60, byte(len(value))), value...) // section 6.2.1
		}
		return block
	},
	"beside the table": func(n int) []byte { return bytes.Repeat([]byte{0x0f, 17, 3, 'k', '=', 'v'}, n) }, // 6.2.2
	"never indexed":    func(n int) []byte { return bytes.Repeat([]byte{0x1f, 17, 3, 'k', '=', 'v'}, n) }, // 6.2.3
	"from the table": func(n int) []byte {
		return append([]byte{0x60, 3, 'k', '=', 'v'}, bytes.Repeat([]byte{0xbe}, n-1)...) // 6.1
	},
	"with its name in full":     func(n int) []byte { return bytes.Repeat([]byte("\x00\x06cookie\x03k=v"), n) },
	"with that in Huffman code": func(n int) []byte { return bytes.Repeat([]byte("\x00\x84\x21\xcf\xd4\xc5\x03k=v"), n) },
}

// TestACookieInManyPiecesIsOneField, as it will be in HTTP/1.1: a browser has up to 180 of a site,
// and sends each by itself.
func TestACookieInManyPiecesIsOneField(t *testing.T) {
	const pieces = 180
	other := "\x00\x01n\x01v"
	for how, of := range crumbs {
		for beside, want := range map[int]http2.Kind{http2.DefaultFields - 1: http2.Head, http2.DefaultFields: http2.Refused} {
			for order, block := range map[string][]byte{
				"first": append(append(bytes.Clone(plain), of(pieces)...), strings.Repeat(other, beside)...),
				"last":  append(append(bytes.Clone(plain), strings.Repeat(other, beside)...), of(pieces)...),
			} {
				b := newBomber(t)
				ev := b.send(block)
				if ev.Kind != want || want == http2.Refused && ev.Reason != http2.TooManyFields {
					t.Errorf("%d pieces %s, %s, and %d others: %v %v", pieces, how, order, beside, ev.Kind, ev.Reason)
				}
				if ev.Kind == http2.Head && len(b.head.Fields) != beside+1 {
					t.Errorf("%d pieces %s, %s, and %d others: %d fields", pieces, how, order, beside, len(b.head.Fields))
				}
			}
		}
	}
}

// TestPiecesOfACookieAreBoundedByTheBytesOfAHead, each of which counts what its field does.
func TestPiecesOfACookieAreBoundedByTheBytesOfAHead(t *testing.T) {
	for how, of := range crumbs {
		b := newBomber(t)
		ev := b.sendLarge(b.stream, endStream, append(bytes.Clone(plain), of(http2.DefaultHeadBytes/38)...))
		if ev.Kind != http2.Refused || ev.Reason != http2.HeadTooLarge {
			t.Errorf("%s: %v %v", how, ev.Kind, ev.Reason)
		}
	}
}
