package loadgen

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestHeadsAreCountedHoweverTheyAreCut(t *testing.T) {
	text := strings.Repeat(string(Request("a.test", "/x")), 3) + "GET / HTTP/1.1\r\nA: \r\r\n\r\r\n\r\n" + "GET"
	for size := 1; size <= len(text); size++ {
		total, matched := 0, uint8(0)
		for chunk := range slices.Chunk([]byte(text), size) {
			var n int
			n, matched = countHeads(chunk, matched)
			total += n
		}
		if total != 4 {
			t.Fatalf("in chunks of %d: %d heads, want 4", size, total)
		}
	}
}

func TestAnswersAreMeasured(t *testing.T) {
	for _, tt := range []struct {
		text   string
		length int
		err    error
	}{
		{"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX: y\r\n\r\nhello", 49, nil},
		{"HTTP/1.1 200 OK\r\nContent-Length:5\r\n\r\n", 42, nil},
		{"HTTP/1.1 200 OK\r\nContent-Le", 0, nil},
		{"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\n", 0, errStatus},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, errMalformed},
		{"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n", 0, errMalformed},
		{"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 2000), 0, errMalformed},
	} {
		length, err := answerHead([]byte(tt.text))
		if !errors.Is(err, tt.err) || err == nil && length != tt.length {
			t.Errorf("%.60q: %d, %v; want %d, %v", tt.text, length, err, tt.length, tt.err)
		}
	}
}
