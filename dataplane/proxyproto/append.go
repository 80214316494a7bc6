package proxyproto

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// AppendV1 appends a header of version 1 for a client's connection. Where an end
// is not known it says so (UNKNOWN).
func AppendV1(dst []byte, source, destination netip.AddrPort) []byte {
	if !source.IsValid() || !destination.IsValid() {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	from, to, six := oneFamily(source.Addr(), destination.Addr())
	if six {
		dst = append(dst, "PROXY TCP6 "...)
	} else {
		dst = append(dst, "PROXY TCP4 "...)
	}
	dst = append(from.AppendTo(dst), ' ')
	dst = append(to.AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(source.Port()), 10), ' ')
	dst = strconv.AppendUint(dst, uint64(destination.Port()), 10)
	return append(dst, "\r\n"...)
}

// AppendV2 appends a header of version 2. Where an end is not known it has no
// addresses (AF_UNSPEC).
func AppendV2(dst []byte, source, destination netip.AddrPort) []byte {
	dst = append(dst, signatureV2...)
	if !source.IsValid() || !destination.IsValid() {
		return append(dst, commandProxy, familyNone, 0, 0)
	}
	from, to, six := oneFamily(source.Addr(), destination.Addr())
	if six {
		a, b := from.As16(), to.As16()
		dst = append(dst, commandProxy, familyTCP6, 0, size6)
		dst = append(append(dst, a[:]...), b[:]...)
	} else {
		a, b := from.As4(), to.As4()
		dst = append(dst, commandProxy, familyTCP4, 0, size4)
		dst = append(append(dst, a[:]...), b[:]...)
	}
	dst = binary.BigEndian.AppendUint16(dst, source.Port())
	return binary.BigEndian.AppendUint16(dst, destination.Port())
}

// oneFamily gives both addresses one family: a header has but one. A pair of two
// families goes as IPv6, whose reader finds the IPv4 address in it.
func oneFamily(source, destination netip.Addr) (from, to netip.Addr, six bool) {
	from, to = source.Unmap().WithZone(""), destination.Unmap().WithZone("")
	if from.Is4() && to.Is4() {
		return from, to, false
	}
	return netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16()), true
}
