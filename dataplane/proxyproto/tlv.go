package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	tlvHead = 3 // type and length
	tlvCRC  = 0x03
	crcSize = 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeros      [crcSize]byte
)

// checkTLVs walks the TLVs of a whole header, from at to its end. They are skipped
// but for a checksum, which must be right (specification 2.2.3).
func checkTLVs(header []byte, at int) Reason {
	checksum := 0 // where it stands
	for at < len(header) {
		if len(header)-at < tlvHead {
			return BadTLV
		}
		kind, size := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		at += tlvHead
		if size > len(header)-at {
			return BadTLV
		}
		if kind == tlvCRC {
			if size != crcSize || checksum != 0 {
				return BadTLV
			}
			checksum = at
		}
		at += size
	}
	if checksum == 0 {
		return NoReason
	}
	sum := crc32.Update(0, castagnoli, header[:checksum])
	sum = crc32.Update(sum, castagnoli, zeros[:]) // the checksum itself counts as zero
	sum = crc32.Update(sum, castagnoli, header[checksum+crcSize:])
	if sum != binary.BigEndian.Uint32(header[checksum:]) {
		return BadChecksum
	}
	return NoReason
}
