package resource

import (
	"slices"
	"strings"
)

// Text that becomes part of an HTTP message.

// isToken reports whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	return s != "" && len(s) <= maxToken && onlyBytes(s, func(c byte) bool {
		return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
	})
}

// printable is true for visible ASCII.
func printable(s string) bool {
	return onlyBytes(s, func(c byte) bool { return c > ' ' && c < 0x7f })
}

// checkFieldValue follows RFC 9110 section 5.5: no control characters but the
// tab (CR, LF and NUL would end the field), no space around it.
func checkFieldValue(s string) (near string, ok bool) {
	clean := onlyBytes(s, func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
	trimmed := strings.Trim(s, " \t")
	if clean && trimmed == s && len(s) <= maxFieldValue {
		return "", true
	}
	if clean && len(s) <= maxFieldValue {
		return trimmed, false
	}
	return "", false
}

func checkMethod(s string) (near string, ok bool) {
	known := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
	if up := strings.ToUpper(s); up != s && slices.Contains(known, up) {
		return up, false // methods are case-sensitive (RFC 9110 section 9.1): "get" would match nothing
	}
	return "", isToken(s)
}

// checkPath accepts an absolute path in the form in which requests are matched.
func checkPath(s string) (near string, ok bool) {
	if len(s) > maxPath {
		return "", false
	}
	if plainPath(s) {
		return "", true
	}
	cut := s
	if i := strings.IndexAny(cut, "?#"); i >= 0 {
		cut = cut[:i]
	}
	if cut == "" || cut[0] != '/' {
		if isAbsent := cut == "" || strings.Contains(cut, "://"); isAbsent {
			return "", false
		}
		cut = "/" + cut
	}
	normal, valid := normalPath(cut)
	if !valid {
		return "", false
	}
	return normal, normal == s
}

// plainPath is true for most paths that are in normal form: no escapes, and no
// segment that begins with a dot.
func plainPath(s string) bool {
	if s == "" || s[0] != '/' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '/' && c != '-' && c != '_' && (c != '.' || s[i-1] == '/') {
			return false
		}
	}
	return true
}

// normalPath brings an absolute path into normal form: dot segments resolved,
// unreserved characters decoded, other escapes in upper case (RFC 3986 section
// 6.2.2), everything that may not stand in a path escaped. It is not valid if an
// escape is malformed or NUL, or if there is a backslash.
func normalPath(s string) (normal string, valid bool) {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' || c < ' ' || c == 0x7f:
			return "", false
		case c == '%':
			if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
				return "", false
			}
			d := unhex(s[i+1])<<4 | unhex(s[i+2])
			if d == 0 {
				return "", false
			}
			if isAlnum(d) || strings.IndexByte("-._~", d) >= 0 {
				b = append(b, d)
			} else {
				b = append(b, '%', hex[d>>4], hex[d&15])
			}
			i += 2
		case isAlnum(c) || strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0:
			b = append(b, c)
		default:
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return removeDotSegments(string(b)), true
}

// removeDotSegments follows RFC 3986 section 5.2.4; empty segments stay.
func removeDotSegments(path string) string {
	segments := strings.Split(path, "/")[1:]
	out := make([]string, 0, len(segments))
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".":
			if last {
				out = append(out, "")
			}
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}

// unhex is the value of a hexadecimal digit; more than 15 if it is none.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	default:
		return 0xff
	}
}

// ownFields are the fields that a proxy must write itself: they belong to one
// connection or frame the message (RFC 9110 section 7.6.1, RFC 9112 section 6).
// A resource that set or removed one would break messages or smuggle requests.
func ownField(name string) bool {
	switch strings.ToLower(name) {
	case "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return false
}
