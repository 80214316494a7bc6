package http1

import (
	"encoding/binary"
	"math/bits"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// The classes of a byte in a request target. Bytes that RFC 3986 does not
// allow raw but that browsers send, such as "|" and "{", are let through: the
// normal form of a path escapes them.
const (
	targetEnd = iota // space, controls, DEL, beyond ASCII
	targetPlain
	targetQuestion
	targetFragment
)

var targetClass = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = targetPlain
	}
	t['?'] = targetQuestion
	t['#'] = targetFragment
	return t
}()

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// controls marks, by the high bit of a byte, the control bytes among eight:
// those below 0x20, and DEL. Only the lowest mark is exact, since a borrow
// may mark bytes above it.
func controls(x uint64) uint64 {
	del := x ^ ones*0x7f
	return ((x-ones*0x20)&^x | (del-ones)&^del) & highs
}

// valueEnd returns the index of the first byte at or after i that no field
// value holds, len(in) if there is none.
func valueEnd(in []byte, i int) int {
	for i+8 <= len(in) {
		m := controls(binary.LittleEndian.Uint64(in[i:]))
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) >> 3
		if in[i] != '\t' {
			return i
		}
		i++
	}
	for i < len(in) && message.IsValueByte(in[i]) {
		i++
	}
	return i
}

// fieldLine reads the field line at pos (RFC 9112 section 5). next is where
// the following line begins, and 0 if the line is wrong or not all there.
func fieldLine(in []byte, pos int) (f message.Field, next int) {
	colon := colonAt(in, pos)
	if colon == len(in) {
		return f, 0
	}
	name := in[pos:colon]
	f.ID = message.LookupField(name) // then it is a token
	if f.ID == message.Unnumbered && !message.ValidFieldName(name) {
		return f, 0
	}
	start := colon + 1
	for start < len(in) && (in[start] == ' ' || in[start] == '\t') {
		start++
	}
	end := valueEnd(in, start)
	if len(in)-end < 2 || in[end] != '\r' || in[end+1] != '\n' {
		return f, 0
	}
	next = end + 2
	for end > start && (in[end-1] == ' ' || in[end-1] == '\t') {
		end--
	}
	f.Name = message.Span{Start: uint32(pos), End: uint32(colon)}
	f.Value = message.Span{Start: uint32(start), End: uint32(end)}
	return f, next
}

// colonAt returns the index of the first colon at or after i, len(in) if there
// is none.
func colonAt(in []byte, i int) int {
	for i+8 <= len(in) {
		x := binary.LittleEndian.Uint64(in[i:]) ^ ones*':'
		if m := (x - ones) &^ x & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(in) && in[i] != ':' {
		i++
	}
	return i
}
