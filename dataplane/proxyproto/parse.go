package proxyproto

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

const (
	// MaxBytes bounds a header. The specification's v1 needs 107 bytes; v2 may
	// carry TLVs, of which a client's certificate is the largest in use.
	MaxBytes = 16 << 10

	// maxLine is the longest line of v1, its CRLF included (specification 2.1).
	maxLine = 107

	prefixV1    = "PROXY "
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2     = 16 // signature, version and command, family, length
)

// Status says what Parse found.
type Status uint8

// The statuses.
const (
	NeedMore Status = iota // it may become a header
	Done                   // a whole header
	Absent                 // the bytes do not begin a header
	Failed                 // they do, and it is malformed: Result.Reason
)

// Header is what a header says.
type Header struct {
	// Source and Destination are the ends of the client's connection. Both are
	// invalid where the header has none: then the connection's own count.
	Source, Destination netip.AddrPort
	// Version is 1 or 2.
	Version uint8
	// Local says that the sender speaks for itself, as in a health check.
	Local bool
}

// Result is what Parse found at the beginning of its input.
type Result struct {
	Header Header // of Done
	N      int    // of Done: the bytes that the header takes
	Status Status
	Reason Reason // of Failed
}

func failed(reason Reason) Result { return Result{Status: Failed, Reason: reason} }

// Parse looks for a header at the beginning of in.
func Parse(in []byte) Result {
	switch {
	case begins(in, signatureV2):
		if len(in) < fixedV2 {
			return Result{}
		}
		return parseV2(in)
	case begins(in, prefixV1):
		if len(in) <= len(prefixV1) {
			return Result{}
		}
		return parseV1(in)
	}
	return Result{Status: Absent}
}

// begins tells whether in and a prefix agree as far as both go.
func begins(in []byte, prefix string) bool {
	n := min(len(in), len(prefix))
	return string(in[:n]) == prefix[:n]
}

// parseV1 reads "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443" CRLF
// (specification 2.1).
func parseV1(in []byte) Result {
	end := bytes.IndexByte(in[:min(len(in), maxLine)], '\n')
	switch {
	case end < 0 && len(in) >= maxLine:
		return failed(LineTooLong)
	case end < 0:
		return Result{}
	case in[end-1] != '\r':
		return failed(BareLF)
	}
	line := in[len(prefixV1) : end-1]
	done := Result{Status: Done, N: end + 1, Header: Header{Version: 1}}
	family, line, more := bytes.Cut(line, space)
	switch {
	case string(family) == "UNKNOWN": // what follows is to be ignored
		return done
	case string(family) != "TCP4" && string(family) != "TCP6":
		return failed(BadFamily)
	case !more:
		return failed(BadLine)
	}
	var parts [4][]byte
	for i := range parts {
		part, rest, more := bytes.Cut(line, space)
		if more != (i < len(parts)-1) {
			return failed(BadLine)
		}
		parts[i], line = part, rest
	}
	source, ok1 := parseAddress(parts[0], family[3] == '6')
	destination, ok2 := parseAddress(parts[1], family[3] == '6')
	if !ok1 || !ok2 {
		return failed(BadAddress)
	}
	from, ok1 := parsePort(parts[2])
	to, ok2 := parsePort(parts[3])
	if !ok1 || !ok2 {
		return failed(BadPort)
	}
	done.Header.Source = netip.AddrPortFrom(source, from)
	done.Header.Destination = netip.AddrPortFrom(destination, to)
	return done
}

var space = []byte(" ")

// parseAddress reads an address of the family that the line names. An IPv4 address
// written as an IPv6 one is the former.
func parseAddress(text []byte, six bool) (netip.Addr, bool) {
	a, err := netip.ParseAddr(string(text))
	if err != nil || a.Is4() == six || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// parsePort reads 0 to 65535 without leading zeros.
func parsePort(text []byte) (uint16, bool) {
	if len(text) == 0 || len(text) > 5 || (text[0] == '0' && len(text) > 1) {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return uint16(n), n <= 65535
}

// The commands and the families of v2 (specification 2.2).
const (
	version2     = 0x20
	commandLocal = version2
	commandProxy = version2 + 1

	familyNone    = 0x00
	familyTCP4    = 0x11
	familyUDP4    = 0x12
	familyTCP6    = 0x21
	familyUDP6    = 0x22
	familyStream  = 0x31
	familyPackets = 0x32

	size4    = 2*4 + 2*2
	size6    = 2*16 + 2*2
	sizeUnix = 2 * 108
)

// parseV2 reads the binary form; the fixed part is there.
func parseV2(in []byte) Result {
	command, family := in[12], in[13]
	size := fixedV2 + int(binary.BigEndian.Uint16(in[14:]))
	switch {
	case command&0xf0 != version2:
		return failed(BadVersion)
	case command != commandLocal && command != commandProxy:
		return failed(BadCommand)
	case size > MaxBytes:
		return failed(TooLarge)
	}
	addresses, ok := addressSize(family)
	if command == commandProxy {
		if !ok {
			return failed(BadFamily)
		}
		if size < fixedV2+addresses {
			return failed(ShortAddresses)
		}
	}
	if len(in) < size {
		return Result{}
	}
	done := Result{Status: Done, N: size, Header: Header{Version: 2}}
	if command == commandLocal { // all that follows is to be skipped, whatever it is
		done.Header.Local = true
		return done
	}
	if family != familyNone { // without a family nobody knows where TLVs would begin
		if reason := checkTLVs(in[:size], fixedV2+addresses); reason != NoReason {
			return failed(reason)
		}
	}
	h, block := &done.Header, in[fixedV2:]
	switch family {
	case familyTCP4:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), binary.BigEndian.Uint16(block[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block[4:])), binary.BigEndian.Uint16(block[10:]))
	case familyTCP6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)).Unmap(), binary.BigEndian.Uint16(block[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(block[16:])).Unmap(), binary.BigEndian.Uint16(block[34:]))
	}
	// Datagrams and UNIX sockets have no address that means anything for a TCP
	// connection: such a header counts as one without (specification 2.2).
	return done
}

func addressSize(family byte) (size int, ok bool) {
	switch family {
	case familyNone:
		return 0, true
	case familyTCP4, familyUDP4:
		return size4, true
	case familyTCP6, familyUDP6:
		return size6, true
	case familyStream, familyPackets:
		return sizeUnix, true
	}
	return 0, false
}
