package hpack

import "encoding/binary"

// codeLengths is the number of bits of each symbol's code (RFC 7541 appendix B).
// The codes need not be listed: they are canonical, so they follow from their
// lengths, shorter ones first and symbols in order.
var codeLengths = [256]uint8{
	13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
	28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
	6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
	5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
	13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
	7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
	15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
	6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
	20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
	24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
	22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
	21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
	26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
	19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
	20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
	26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
}

const (
	shortBits = 9  // codes up to here are found by one look
	longest   = 30 // bits of the longest code
)

// shortCodes maps the next shortBits bits to length<<8 | symbol; 0 where they
// begin a longer code.
var shortCodes = func() (t [1 << shortBits]uint16) {
	code := uint32(0)
	for length := 1; length <= shortBits; length++ {
		code <<= 1
		for symbol, l := range codeLengths {
			if int(l) != length {
				continue
			}
			first := code << (shortBits - length)
			for i := range uint32(1) << (shortBits - length) {
				t[first+i] = uint16(length<<8 | symbol)
			}
			code++
		}
	}
	return t
}()

// longCodes are the codes of one length: those between first and limit, both
// moved to the high end of 32 bits.
type longCodes struct {
	first, limit uint32
	length       uint8
	symbols      []byte
}

// longTable has the lengths above shortBits, shortest first.
var longTable = func() (t []longCodes) {
	code := uint32(0)
	for length := 1; length <= longest; length++ {
		code <<= 1
		group := longCodes{first: code << (32 - length), length: uint8(length)}
		for symbol, l := range codeLengths {
			if int(l) == length {
				group.symbols = append(group.symbols, byte(symbol))
				code++
			}
		}
		group.limit = code << (32 - length)
		if length > shortBits && len(group.symbols) > 0 {
			t = append(t, group)
		}
	}
	return t
}()

// appendHuffman appends what src says. It is false where src holds the end
// symbol, a code that breaks off, or padding that is not the beginning of the
// end symbol or longer than 7 bits (RFC 7541 section 5.2).
func appendHuffman(dst, src []byte) ([]byte, bool) {
	var bits uint64 // the next bits, from the high end; zeros behind
	n := uint(0)    // how many
	for {
		if n <= 32 {
			if len(src) >= 4 {
				bits |= uint64(binary.BigEndian.Uint32(src)) << (32 - n)
				src = src[4:]
				n += 32
			}
			for n <= 56 && len(src) > 0 && len(src) < 4 {
				bits |= uint64(src[0]) << (56 - n)
				src = src[1:]
				n += 8
			}
		}
		code := shortCodes[bits>>(64-shortBits)]
		if code == 0 {
			code = longCode(uint32(bits >> 32))
		}
		length := uint(code >> 8)
		if length == 0 || length > n {
			// No code begins with seven ones or fewer, or is that.
			return dst, n < 8 && bits>>(64-n) == 1<<n-1
		}
		dst = append(dst, byte(code))
		bits <<= length
		n -= length
	}
}

// longCode finds a code of more than shortBits bits at the high end of w.
func longCode(w uint32) uint16 {
	for i := range longTable {
		if g := &longTable[i]; w < g.limit {
			return uint16(g.length)<<8 | uint16(g.symbols[(w-g.first)>>(32-g.length)])
		}
	}
	return 0 // the end symbol, or its beginning
}
