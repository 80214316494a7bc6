package http1

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestNoByteIsSearchedTwice holds the reader to its O(n): after every byte, the
// search goes on behind all that was there, and lines that were right are not
// read again before the head is complete.
func TestNoByteIsSearchedTwice(t *testing.T) {
	inputs := []string{
		"GET / HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("b", 2000) + "\r\nB: c\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nC: " + strings.Repeat("d", 2000) + "\r\n\r\n",
	}
	for _, input := range inputs {
		var r Reader
		var h message.Head
		r.Init(Server, Limits{})
		in := []byte(input)
		for n := 1; n <= len(in); n++ {
			ev := r.Next(in[:n], &h)
			if ev.Kind == Head && n < len(in) {
				in = in[ev.N:]
				n = 0
				continue
			}
			if n == len(in) {
				if ev.Kind != Head && ev.Kind != End {
					t.Errorf("at the end: %+v", ev)
				}
				break
			}
			if ev.Kind != NeedMore || int(r.searched) != n && r.state != stateChunkFirst {
				t.Fatalf("after %d bytes: %+v, searched %d", n, ev, r.searched)
			}
			if lines := strings.LastIndexByte(string(in[:n]), '\n') + 1; lines > 2 && int(r.parsed) != lines {
				t.Fatalf("after %d bytes: lines up to %d are known, want %d", n, r.parsed, lines)
			}
		}
	}
}

// TestReaderIsSmall: an idle connection keeps two of them.
func TestReaderIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Reader{}); size > 48 {
		t.Errorf("a Reader takes %d bytes, want at most 48", size)
	}
}
