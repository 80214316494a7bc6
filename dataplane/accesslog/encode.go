package accesslog

import (
	"encoding/binary"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// MaxField is where texts that clients choose are cut. It bounds a line: escaped
// six-fold, seven such texts and what else is there fit into a buffer.
const MaxField = 1 << 10

// clock writes times, and remembers the second that it wrote last.
type clock struct {
	second int64
	text   [len("2006-01-02T15:04:05.")]byte
}

func (c *clock) append(dst []byte, unixNano int64) []byte {
	second, rest := unixNano/1e9, unixNano%1e9
	if rest < 0 {
		second, rest = second-1, rest+1e9
	}
	if second != c.second || c.text[0] == 0 {
		c.second = second
		time.Unix(second, 0).UTC().AppendFormat(c.text[:0], "2006-01-02T15:04:05.")
	}
	dst = append(dst, c.text[:]...)
	micros := uint32(rest / 1e3)
	for unit := uint32(100_000); unit > 0; unit /= 10 {
		dst = append(dst, '0'+byte(micros/unit%10))
	}
	return append(dst, 'Z')
}

// appendLine appends the line of r, with its end.
func appendLine(dst []byte, c *clock, r *exchange.Record) []byte {
	dst = append(dst, `{"time":"`...)
	dst = c.append(dst, r.StartUnixNano)
	dst = append(dst, `","request_id":"`...)
	dst = appendEscaped(dst, r.RequestID)
	if len(r.TraceID) > 0 {
		dst = append(dst, `","trace_id":"`...)
		dst = appendEscaped(dst, r.TraceID)
		dst = append(dst, `","span_id":"`...)
		dst = appendEscaped(dst, r.SpanID)
	}
	dst = append(dst, `","client":"`...)
	if r.Client.IsValid() {
		dst = r.Client.AppendTo(dst)
	}
	dst = appendRequest(dst, r)
	dst = appendAnswer(dst, r)
	dst = appendNumbers(dst, r)
	if len(r.UserAgent) > 0 {
		dst = append(dst, `,"user_agent":"`...)
		dst = appendEscaped(dst, r.UserAgent)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"epoch":`...)
	dst = strconv.AppendUint(dst, r.Epoch, 10)
	dst = append(dst, `,"revision":`...)
	dst = strconv.AppendUint(dst, r.Revision, 10)
	return append(dst, '}', '\n')
}

func appendRequest(dst []byte, r *exchange.Record) []byte {
	if r.Raw {
		if len(r.Host) > 0 {
			dst = append(dst, `","host":"`...)
			dst = appendEscaped(dst, r.Host)
		}
		return append(dst, `","protocol":"TCP`...)
	}
	dst = append(dst, `","method":"`...)
	dst = appendEscaped(dst, r.Method)
	dst = append(dst, `","host":"`...)
	dst = appendEscaped(dst, r.Host)
	dst = append(dst, `","path":"`...)
	dst = appendEscaped(dst, r.Path)
	if len(r.Query) > 0 {
		dst = append(dst, `","query":"`...)
		dst = appendEscaped(dst, r.Query)
	}
	dst = append(dst, `","protocol":"`...)
	switch {
	case r.HTTP2:
		return append(dst, "HTTP/2"...)
	case len(r.Method) == 0: // nothing of a request was understood
		return dst
	}
	return append(append(dst, "HTTP/1."...), '0'+r.Minor%10)
}

func appendAnswer(dst []byte, r *exchange.Record) []byte {
	dst = append(dst, `","status":`...)
	dst = strconv.AppendUint(dst, uint64(r.Status), 10)
	if r.Reason != exchange.ReasonNone {
		dst = append(dst, `,"reason":"`...)
		dst = append(dst, r.Reason.String()...)
		dst = append(dst, '"')
	}
	if r.Detail != "" {
		dst = append(dst, `,"detail":"`...)
		dst = appendEscaped(dst, r.Detail)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"listener":"`...)
	dst = appendEscaped(dst, r.Listener)
	if r.Route != "" {
		dst = append(dst, `","route":"`...)
		dst = appendEscaped(dst, r.Route)
	}
	if r.Upstream != "" {
		dst = append(dst, `","upstream":"`...)
		dst = appendEscaped(dst, r.Upstream)
	}
	if r.Endpoint != "" {
		dst = append(dst, `","endpoint":"`...)
		dst = appendEscaped(dst, r.Endpoint)
	}
	return append(dst, '"')
}

func appendNumbers(dst []byte, r *exchange.Record) []byte {
	if r.Attempts > 1 {
		dst = append(dst, `,"attempts":`...)
		dst = strconv.AppendUint(dst, uint64(r.Attempts), 10)
	}
	if r.OverBudget {
		dst = append(dst, `,"over_budget":true`...)
	}
	dst = append(dst, `,"bytes_in":`...)
	dst = strconv.AppendUint(dst, r.BytesIn, 10)
	dst = append(dst, `,"bytes_out":`...)
	dst = strconv.AppendUint(dst, r.BytesOut, 10)
	dst = append(dst, `,"duration_us":`...)
	dst = strconv.AppendInt(dst, r.Duration/1e3, 10)
	if r.HeadTime > 0 {
		dst = append(dst, `,"head_us":`...)
		dst = strconv.AppendInt(dst, r.HeadTime/1e3, 10)
	}
	if r.Acquire > 0 {
		dst = append(dst, `,"acquire_us":`...)
		dst = strconv.AppendInt(dst, r.Acquire/1e3, 10)
	}
	if r.FirstByte > 0 {
		dst = append(dst, `,"first_byte_us":`...)
		dst = strconv.AppendInt(dst, r.FirstByte/1e3, 10)
	}
	return dst
}

// plain are the bytes that stand in a JSON string as they are: printable ASCII
// but the quote and the backslash.
var plain = func() (table [256]bool) {
	for c := 0x20; c < 0x7f; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// appendEscaped appends the inside of a JSON string (RFC 8259 section 7). Nearly
// every text is plain as it is: so it is appended first and looked at then, eight
// bytes at a time.
func appendEscaped[T string | []byte](dst []byte, s T) []byte {
	s = s[:min(len(s), MaxField)]
	start := len(dst)
	dst = append(dst, s...)
	n := plainPrefix(dst[start:])
	if n == len(s) {
		return dst
	}
	return appendSlowly(dst[:start+n], s[n:])
}

// plainPrefix is how many bytes at the beginning of b are plain.
func plainPrefix(b []byte) int {
	n := 0
	for len(b)-n >= 8 && allPlain(binary.LittleEndian.Uint64(b[n:])) {
		n += 8
	}
	for n < len(b) && plain[b[n]] {
		n++
	}
	return n
}

// allPlain is plain for eight bytes at once. The highest bit of a byte is set if
// it is set in v, or where a subtraction borrows: below 0x20, or where a byte is
// the one that was made zero. A borrow that runs on to the next byte begins at one
// that is found anyway.
func allPlain(v uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash, del := v^ones*'"', v^ones*'\\', v^ones*0x7f
	return (v|(v-ones*0x20)|(quote-ones)|(backslash-ones)|(del-ones))&highs == 0
}

// appendSlowly is appendEscaped by the byte.
func appendSlowly[T string | []byte](dst []byte, s T) []byte {
	for i := 0; i < len(s); {
		if plain[s[i]] {
			dst = append(dst, s[i])
			i++
			continue
		}
		n := 0
		dst, n = appendSpecial(dst, s[i:])
		i += n
	}
	return dst
}

const hex = "0123456789abcdef"

// appendSpecial appends the first character of s, which is not plain, and tells
// how long it is there.
func appendSpecial[T string | []byte](dst []byte, s T) ([]byte, int) {
	c := s[0]
	if c < utf8.RuneSelf {
		switch c {
		case '"', '\\':
			return append(dst, '\\', c), 1
		case '\n':
			return append(dst, '\\', 'n'), 1
		case '\r':
			return append(dst, '\\', 'r'), 1
		case '\t':
			return append(dst, '\\', 't'), 1
		}
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15]), 1
	}
	r, n := decodeRune(s)
	switch {
	case r == utf8.RuneError && n == 1:
		return append(dst, `\ufffd`...), 1
	case r < 0xa0:
		// C1 controls: terminals obey them.
		return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&15]), n
	}
	return append(dst, s[:n]...), n
}

func decodeRune[T string | []byte](s T) (rune, int) {
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], s)])
}
