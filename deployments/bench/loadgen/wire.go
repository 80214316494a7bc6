package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

const headEnd = "\r\n\r\n"

// maxHead bounds the head of an answer.
const maxHead = 8 << 10

var (
	errStatus    = errors.New("status")
	errMalformed = errors.New("malformed")
)

// answerHead reads the head of an answer with status 200 at the start of b. length
// is that of the whole answer; 0: more of it must come first.
func answerHead(b []byte) (length int, err error) {
	end := bytes.Index(b, []byte(headEnd))
	if end < 0 {
		if len(b) > maxHead {
			return 0, fmt.Errorf("%w: a head of more than %d bytes", errMalformed, maxHead)
		}
		return 0, nil
	}
	head := b[:end+2]
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("%w: %.40q", errStatus, head)
	}
	for len(head) > 0 {
		i := bytes.Index(head, []byte("\r\n"))
		line := head[:i]
		head = head[i+2:]
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(line[len(name):])), 10, 31)
			if err != nil {
				return 0, fmt.Errorf("%w: %q", errMalformed, line)
			}
			return end + len(headEnd) + int(n), nil
		}
	}
	return 0, fmt.Errorf("%w: no Content-Length", errMalformed)
}

// countHeads counts the ends of heads in what a connection sent. matched is how
// much of an end the connection's last bytes were.
func countHeads(b []byte, matched uint8) (n int, rest uint8) {
	for len(b) > 0 {
		if matched == 0 {
			i := bytes.IndexByte(b, '\r')
			if i < 0 {
				return n, 0
			}
			b, matched = b[i+1:], 1
			continue
		}
		switch b[0] {
		case headEnd[matched]:
			matched++
		case '\r':
			matched = 1
		default:
			matched = 0
		}
		if matched == uint8(len(headEnd)) {
			n, matched = n+1, 0
		}
		b = b[1:]
	}
	return n, matched
}
