package http1

import (
	"bytes"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// The functions of this file run once in the life of a connection: they say
// which rule a line breaks that the fast functions did not take. Each gets a
// whole line, LF included.

// checkLineEnd wants CRLF at the end and no CR before (RFC 9112 section 2.2).
func checkLineEnd(line []byte) Reason {
	n := len(line)
	if n < 2 || line[n-2] != '\r' {
		return BareLF
	}
	if bytes.IndexByte(line[:n-2], '\r') >= 0 {
		return BareCR
	}
	return NoReason
}

// requestLineReason says what is wrong with a request line.
func requestLineReason(line []byte) Reason {
	if reason := checkLineEnd(line); reason != NoReason {
		return reason
	}
	line = line[:len(line)-2]
	n := message.TokenLen(line)
	if n == 0 || n < len(line) && line[n] != ' ' {
		return BadMethod
	}
	rest := line[n:]
	space := bytes.LastIndexByte(rest, ' ')
	if space <= 0 {
		return BadRequestLine // HTTP/0.9, or less
	}
	target, version := rest[1:space], rest[space+1:]
	if reason := versionReason(version); reason != NoReason {
		return reason
	}
	if len(target) == 0 || target[0] == ' ' || target[len(target)-1] == ' ' {
		return BadRequestLine
	}
	for _, c := range target {
		switch targetClass[c] {
		case targetEnd:
			return BadTargetByte
		case targetFragment:
			return TargetFragment
		}
	}
	return BadRequestLine
}

// versionReason says what is wrong with an HTTP version.
func versionReason(version []byte) Reason {
	digit := func(c byte) bool { return '0' <= c && c <= '9' }
	if len(version) != 8 || string(version[:5]) != "HTTP/" || !digit(version[5]) || version[6] != '.' || !digit(version[7]) {
		return BadVersion
	}
	if version[5] != '1' || version[7] > '1' {
		return UnsupportedVersion
	}
	return NoReason
}

// fieldLineReason says what is wrong with a field line.
func fieldLineReason(line []byte) Reason {
	if reason := checkLineEnd(line); reason != NoReason {
		return reason
	}
	line = line[:len(line)-2]
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return ObsFold
	}
	n := message.TokenLen(line)
	switch {
	case n == len(line):
		return MissingColon
	case line[n] == ':' && n == 0:
		return EmptyFieldName
	case line[n] == ':':
		return BadFieldValue
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return MissingColon
	}
	if spaces := bytes.TrimLeft(line[n:colon], " \t"); n > 0 && len(spaces) == 0 {
		return SpaceBeforeColon
	}
	return BadFieldName
}
