package message

import (
	"bytes"
	"net/netip"
)

// maxHost is the longest host name of DNS in text form, without the last dot
// (RFC 1035 section 2.3.4).
const maxHost = 253

// The classes of a byte in a host name.
const (
	hostRefuse = iota
	hostLower  // a small letter, a digit, "-" or "_"
	hostUpper
	hostDot
	hostColon
)

var hostClass = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			t[i] = hostLower
		case 'A' <= c && c <= 'Z':
			t[i] = hostUpper
		case c == '.':
			t[i] = hostDot
		case c == ':':
			t[i] = hostColon
		}
	}
	return t
}()

// ValidAuthority tells whether b is a host with an optional port that
// NormalHost accepts. Narrower than RFC 3986 section 3.2.2: a name has letters,
// digits, "-", "_" and dots between labels that are not empty; no escapes, no
// other punctuation, and no user information.
func ValidAuthority(b []byte) bool {
	if len(b) > 0 && b[0] == '[' {
		_, ok := parseLiteral(b)
		return ok
	}
	_, _, ok := scanHost(b)
	return ok
}

// NormalHost returns the one normal form of a host: lower case, without its
// port and without one trailing dot. The brackets of an IPv6 literal stay, and
// its address is written as RFC 5952 says. ok is false for an empty or invalid
// host.
//
// A part of authority itself is returned when it is already normal; otherwise
// the host is built in scratch, which must not overlap authority.
func NormalHost(authority, scratch []byte) (host, newScratch []byte, ok bool) {
	if len(authority) > 0 && authority[0] == '[' {
		addr, ok := parseLiteral(authority)
		if !ok {
			return nil, scratch, false
		}
		scratch = append(scratch[:0], '[')
		scratch = append(addr.AppendTo(scratch), ']')
		return scratch, scratch, true
	}
	n, upper, ok := scanHost(authority)
	if !ok {
		return nil, scratch, false
	}
	if !upper {
		return authority[:n], scratch, true
	}
	scratch = AppendLower(scratch[:0], authority[:n])
	return scratch, scratch, true
}

// scanHost checks a host name with an optional port. n is the length of the
// name without a trailing dot.
func scanHost(b []byte) (n int, upper, ok bool) {
	label := 0 // where the label that is being read begins
	end := len(b)
	for i := 0; i < len(b); i++ {
		class := hostClass[b[i]]
		if class == hostLower {
			continue
		}
		if class == hostUpper {
			upper = true
			continue
		}
		if class == hostColon && validPort(b[i+1:]) {
			end = i
			break
		}
		if class != hostDot || i == label {
			return 0, false, false
		}
		label = i + 1
	}
	if end > 0 && b[end-1] == '.' {
		end--
	}
	if end == 0 || end > maxHost {
		return 0, false, false
	}
	return end, upper, true
}

// validPort is RFC 3986 section 3.2.3, within 16 bits: a port may be empty.
func validPort(b []byte) bool {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
		if n = n*10 + int(c-'0'); n > 65535 {
			return false
		}
	}
	return true
}

// parseLiteral reads an IPv6 address in brackets with an optional port. Zones
// and the literals of a future version (RFC 3986 section 3.2.2) are refused.
func parseLiteral(b []byte) (netip.Addr, bool) {
	end := bytes.IndexByte(b, ']')
	if end < 0 || end+1 < len(b) && (b[end+1] != ':' || !validPort(b[end+2:])) {
		return netip.Addr{}, false
	}
	addr, ok := ParseAddr(b[1:end])
	return addr, ok && addr.Is6()
}
