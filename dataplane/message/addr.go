package message

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// ParseAddr reads an IP address as netip.ParseAddr does, but no zone: that names an
// interface of the machine that wrote it. It does not allocate.
func ParseAddr(b []byte) (netip.Addr, bool) {
	if len(b) == 0 || bytes.IndexByte(b, '%') >= 0 {
		return netip.Addr{}, false
	}
	// Only a zone, or an error that is dropped here, keeps the text.
	a, err := netip.ParseAddr(unsafe.String(&b[0], len(b)))
	return a, err == nil
}
