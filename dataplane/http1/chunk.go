package http1

import (
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// maxChunkLine is the longest line of a chunk: size, extensions and CRLF.
const maxChunkLine = maxChunkDigits + MaxChunkExtension + 2

// chunkLine reads the line of a chunk, and before it the CRLF that closes the
// data of the chunk before (RFC 9112 section 7.1). The line is consumed
// together with the data or the trailer section behind it.
func (r *Reader) chunkLine(in []byte) Event {
	start := 0
	if r.state == stateChunkNext {
		if len(in) > 0 && in[0] != '\r' || len(in) > 1 && in[1] != '\n' {
			return r.fail(BadChunkEnd)
		}
		if len(in) < 2 {
			return Event{}
		}
		start = 2
	}
	size, next := plainChunkLine(in, start)
	extensions := uint32(0)
	if next == 0 {
		end := r.lineEnd(in, start)
		if end == 0 && len(in)-start < maxChunkLine {
			r.searched = uint32(len(in))
			return Event{}
		}
		if end == 0 || end-start > maxChunkLine {
			return r.fail(longChunkLine(in[start : start+maxChunkLine]))
		}
		var reason Reason
		if size, extensions, reason = r.parseChunkLine(in[start:end]); reason != NoReason {
			return r.fail(reason)
		}
		next = end
	}
	switch {
	case size == 0:
		r.state = stateTrailer
		r.skip = uint16(next)
		r.parsed = uint32(next)
		r.searched = uint32(next)
		return r.trailer(in)
	case len(in) == next:
		r.searched = 0 // the line is read again when data comes
		return Event{}
	}
	r.searched = 0
	r.extensions += extensions
	r.state = stateChunkData
	r.remaining = size
	return r.data(in, next)
}

// plainChunkLine reads the line that senders write: a size and CRLF. next is 0
// if the line is anything else, or not all there.
func plainChunkLine(in []byte, start int) (size int64, next int) {
	i := start
	for ; i < len(in) && i < start+maxChunkDigits-1; i++ { // 15 digits cannot overflow
		digit := message.HexValue(in[i])
		if digit < 0 {
			break
		}
		size = size<<4 | int64(digit)
	}
	if i == start || len(in)-i < 2 || in[i] != '\r' || in[i+1] != '\n' {
		return 0, 0
	}
	return size, i + 2
}

// parseChunkLine reads any line of a chunk, which ends with LF. White space is
// refused wherever it stands outside quotes: RFC 9112 section 7.1.1 lets a
// recipient remove it around extensions, but no sender needs that, and readers
// that disagree about "5 " can be played against each other.
func (r *Reader) parseChunkLine(line []byte) (size int64, extensions uint32, reason Reason) {
	if reason := checkLineEnd(line); reason != NoReason {
		return 0, 0, reason
	}
	line = line[:len(line)-2]
	var bits uint64
	i := 0
	for ; i < len(line) && message.HexValue(line[i]) >= 0; i++ {
		if i == maxChunkDigits {
			return 0, 0, ChunkTooLarge
		}
		bits = bits<<4 | uint64(message.HexValue(line[i]))
	}
	if i == 0 || i < len(line) && line[i] != ';' {
		return 0, 0, BadChunkSize
	}
	if bits > math.MaxInt64 {
		return 0, 0, ChunkTooLarge
	}
	extension := line[i:]
	if !validChunkExtension(extension) {
		return 0, 0, BadChunkExtension
	}
	if len(extension) > MaxChunkExtension || int(r.extensions)+len(extension) > MaxChunkExtensions {
		return 0, 0, ChunkExtensionTooLarge
	}
	return int64(bits), uint32(len(extension)), NoReason
}

// longChunkLine says what is wrong with a line that is too long, by its
// beginning.
func longChunkLine(line []byte) Reason {
	i := 0
	for i < len(line) && message.HexValue(line[i]) >= 0 {
		i++
	}
	switch {
	case i > maxChunkDigits:
		return ChunkTooLarge
	case i > 0 && line[i] == ';':
		return ChunkExtensionTooLarge
	}
	return BadChunkSize
}

// validChunkExtension checks *( ";" name [ "=" ( token / quoted-string ) ] ).
func validChunkExtension(b []byte) bool {
	for len(b) > 0 {
		if b[0] != ';' {
			return false
		}
		n := message.TokenLen(b[1:])
		if n == 0 {
			return false
		}
		b = b[1+n:]
		if len(b) == 0 || b[0] != '=' {
			continue
		}
		b = b[1:]
		if n = message.TokenLen(b); n == 0 {
			n = quotedLen(b)
		}
		if n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// quotedLen is the length of the quoted string at the beginning of b (RFC 9110
// section 5.6.4), 0 if there is none.
func quotedLen(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return 0
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i++; i == len(b) || !message.IsValueByte(b[i]) {
				return 0
			}
		case !message.IsValueByte(c):
			return 0
		}
	}
	return 0
}

// trailer reads the trailer section behind the last chunk's line. The section
// is checked like the fields of a head and consumed as one, together with that
// line.
func (r *Reader) trailer(in []byte) Event {
	skip := int(r.skip)
	limit := skip + int(min(r.headBytes, MaxTrailerBytes))
	most := min(int(r.maxFields), MaxTrailerFields)
	for pos := int(r.parsed); ; {
		end := r.lineEnd(in, pos)
		if end > limit || end == 0 && len(in) >= limit {
			return r.fail(TrailerTooLarge)
		}
		if end == 0 {
			r.parsed = uint32(pos)
			r.searched = uint32(len(in))
			return Event{}
		}
		if end == pos+2 && in[pos] == '\r' {
			return r.end(Event{Kind: End, N: end, Start: skip, End: pos})
		}
		field, next := fieldLine(in, pos)
		if next == 0 {
			return r.fail(fieldLineReason(in[pos:end]))
		}
		if int(r.fields) == most {
			return r.fail(TrailerTooLarge)
		}
		if forbiddenTrailer(field.ID) {
			return r.fail(ForbiddenTrailer)
		}
		r.fields++
		pos = next
	}
}

// forbiddenTrailer names the fields that would change how a message is framed
// or routed if someone merged trailers into the head (RFC 9110 section 6.5.1).
// They are refused. What else does not belong into a trailer is harmless as
// long as trailers are not merged, which nothing here does.
func forbiddenTrailer(id message.FieldID) bool {
	switch id {
	case message.FieldTransferEncoding, message.FieldContentLength, message.FieldHost,
		message.FieldConnection, message.FieldTrailer, message.FieldTE, message.FieldUpgrade:
		return true
	}
	return false
}

// AppendTrailers appends the field lines of a trailer section, in[Start:End] of
// an End event; their spans point into section.
func AppendTrailers(fields []message.Field, section []byte) []message.Field {
	for pos := 0; pos < len(section); {
		field, next := fieldLine(section, pos)
		if next == 0 {
			break
		}
		fields = append(fields, field)
		pos = next
	}
	return fields
}
