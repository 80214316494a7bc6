package http2

import (
	"encoding/binary"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// checkField checks a field line that is no pseudo-field (RFC 9113 section 8.2).
func checkField(id message.FieldID, name, value []byte) Reason {
	if !lowerToken(name) {
		return nameReason(name)
	}
	if !validValue(value) {
		return BadFieldValue
	}
	switch id {
	case message.FieldConnection, message.FieldProxyConnection, message.FieldKeepAlive,
		message.FieldTransferEncoding, message.FieldUpgrade:
		return ConnectionField
	case message.FieldTE:
		if !message.EqualFold(value, "trailers") {
			return ConnectionField
		}
	}
	return NoReason
}

// checkTrailer checks a field line of a trailer section. Fields that would change
// how a message is framed or routed are refused, as package http1 does.
func checkTrailer(arena []byte, field *message.Field) Reason {
	name, value := arena[field.Name.Start:field.Name.End], arena[field.Value.Start:field.Value.End]
	if len(name) > 0 && name[0] == ':' {
		return LatePseudo
	}
	if reason := checkField(field.ID, name, value); reason != NoReason {
		return reason
	}
	switch field.ID {
	case message.FieldContentLength, message.FieldHost, message.FieldTrailer, message.FieldTE:
		return ForbiddenTrailer
	}
	return NoReason
}

// nameTable has the bytes of a field name: those of a token but for capitals.
var nameTable = func() (t [256]bool) {
	for c := range t {
		t[c] = message.IsTokenByte(byte(c)) && (c < 'A' || c > 'Z')
	}
	return t
}()

// lowerToken tells whether b can be a field name.
func lowerToken(b []byte) bool {
	for _, c := range b {
		if !nameTable[c] {
			return false
		}
	}
	return len(b) > 0
}

// nameReason says what is wrong with a name.
func nameReason(name []byte) Reason {
	if len(name) > 0 && message.TokenLen(name) == len(name) {
		return UpperCaseName
	}
	return BadFieldName
}

// validValue tells whether b can be a value: no control bytes, no white space
// around it. RFC 9113 section 8.2.1 asks for NUL, CR and LF alone, but the next
// hop may speak HTTP/1.1, and package http1 takes no more.
func validValue(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if first, last := b[0], b[len(b)-1]; first <= ' ' || last <= ' ' {
		return false // white space, or a control byte
	}
	for ; len(b) >= 8; b = b[8:] {
		if controls(binary.LittleEndian.Uint64(b)) != 0 && !onlyTabs(b[:8]) {
			return false
		}
	}
	return onlyTabs(b)
}

// onlyTabs is validValue for a part of a value.
func onlyTabs(b []byte) bool {
	for _, c := range b {
		if !message.IsValueByte(c) {
			return false
		}
	}
	return true
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// controls is not 0 if one of eight bytes is a control byte: below 0x20, or DEL.
func controls(x uint64) uint64 {
	del := x ^ ones*0x7f
	return ((x-ones*0x20)&^x | (del-ones)&^del) & highs
}

// validScheme is RFC 3986 section 3.1. What the scheme is does not matter here:
// the connection tells how the request came.
func validScheme(b []byte) bool {
	for i, c := range b {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return len(b) > 0
}

// The classes of a byte in a path, as package http1 has them for targets.
const (
	pathRefuse = iota // space, controls, DEL, beyond ASCII, "#"
	pathPlain
	pathQuestion
)

var pathClass = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = pathPlain
	}
	t['?'] = pathQuestion
	t['#'] = pathRefuse
	return t
}()
