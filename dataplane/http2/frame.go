package http2

import "encoding/binary"

// frameType is the type of a frame (RFC 9113 section 6).
type frameType uint8

const (
	frameData           frameType = 0x0
	frameHeaders        frameType = 0x1
	framePriority       frameType = 0x2
	frameReset          frameType = 0x3
	frameSettings       frameType = 0x4
	framePushPromise    frameType = 0x5
	framePing           frameType = 0x6
	frameGoAway         frameType = 0x7
	frameWindowUpdate   frameType = 0x8
	frameContinuation   frameType = 0x9
	framePriorityUpdate frameType = 0x10 // RFC 9218 section 7.1
)

// The flags of frames.
const (
	flagAck        = 0x1 // of SETTINGS and PING
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	// frameHeaderLen is the length of a frame's header (RFC 9113 section 4.1).
	frameHeaderLen = 9

	// MaxFrame is the largest frame that is taken, and that is sent whatever the
	// peer would take: the least that every peer must take (RFC 9113 section
	// 4.2). A larger one would keep other streams waiting longer.
	MaxFrame = 16 << 10

	maxStreamID = 1<<31 - 1
	maxWindow   = 1<<31 - 1
)

// frame is a frame's header.
type frame struct {
	length int
	kind   frameType
	flags  uint8
	stream uint32
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads a header; in has at least frameHeaderLen bytes.
func parseFrame(in []byte) frame {
	return frame{
		length: int(in[0])<<16 | int(in[1])<<8 | int(in[2]),
		kind:   frameType(in[3]),
		flags:  in[4],
		stream: binary.BigEndian.Uint32(in[5:]) & maxStreamID, // the reserved bit is ignored
	}
}

// appendFrame appends a header.
func appendFrame(dst []byte, length int, kind frameType, flags uint8, stream uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(kind), flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

// putFrame writes a header over the first bytes of dst.
func putFrame(dst []byte, length int, kind frameType, flags uint8, stream uint32) {
	appendFrame(dst[:0], length, kind, flags, stream)
}

func appendReset(dst []byte, stream uint32, code Code) []byte {
	dst = appendFrame(dst, 4, frameReset, 0, stream)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, stream, increment uint32) []byte {
	dst = appendFrame(dst, 4, frameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(dst, increment)
}

func appendGoAway(dst []byte, last uint32, code Code, text string) []byte {
	dst = appendFrame(dst, 8+len(text), frameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, text...)
}
