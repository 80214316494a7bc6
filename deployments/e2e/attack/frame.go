package attack

import "encoding/binary"

// Frames of HTTP/2 (RFC 9113 section 6), with nothing checked.
const (
	frameHeader = 9
	// magicLen is the length of what comes before the frames of a client.
	magicLen = 24

	frameData         = 0x0
	frameHeaders      = 0x1
	framePriority     = 0x2
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
)

// Error codes (RFC 9113 section 7).
const (
	NoError          = 0x0
	ProtocolError    = 0x1
	FlowControlError = 0x3
	StreamClosed     = 0x5
	FrameSizeError   = 0x6
	Cancel           = 0x8
	CompressionError = 0x9
	EnhanceYourCalm  = 0xb
)

// frame appends a frame.
func frame(dst []byte, kind, flags byte, stream uint32, payload ...byte) []byte {
	n := len(payload)
	dst = append(dst, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	return append(dst, payload...)
}

// number appends a frame whose payload is one number of 32 bits.
func number(dst []byte, kind byte, stream, value uint32) []byte {
	return frame(dst, kind, 0, stream, binary.BigEndian.AppendUint32(nil, value)...)
}

// setting is one parameter of SETTINGS.
func setting(id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, id), value)
}

// preface is what a client sends first, with settings.
func preface(settings ...byte) []byte {
	return frame([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frameSettings, 0, 0, settings...)
}

// literal appends a field without indexing, with a literal name (RFC 7541 section
// 6.2.2).
func literal(dst []byte, name, value string) []byte {
	return text(text(append(dst, 0), name), value)
}

// text appends a string without Huffman coding.
func text(dst []byte, s string) []byte {
	return append(integer(dst, 0, 7, len(s)), s...)
}

// integer appends a number with a prefix of so many bits (RFC 7541 section 5.1).
func integer(dst []byte, first byte, bits, n int) []byte {
	most := 1<<bits - 1
	if n < most {
		return append(dst, first|byte(n))
	}
	dst = append(dst, first|byte(most))
	for n -= most; n >= 128; n >>= 7 {
		dst = append(dst, byte(n)|128)
	}
	return append(dst, byte(n))
}

// request is the field block of a request. Host and path stand in no table, so
// that the block says the same wherever it comes.
func request(method, path string) []byte {
	block := []byte{0x86} // :scheme http
	if method == "GET" {
		block = append(block, 0x82)
	} else {
		block = literal(block, ":method", method)
	}
	block = text(append(block, 0x01), Host) // :authority
	return text(append(block, 0x04), path)  // :path
}

// Host is the host of all requests.
const Host = "attack.test"

// stream is the n-th stream of a client, from 0.
func stream(n int) uint32 { return uint32(2*n + 1) }
