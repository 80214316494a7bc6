package message

import "bytes"

// PathOptions are the choices that a listener has about the normal form.
type PathOptions struct {
	MergeSlashes         bool // "//" becomes "/"
	RejectEscapedSlashes bool // %2F and %5C are refused instead of kept
}

// PathProblem says why a path has no normal form; 0 is none.
type PathProblem uint8

// The problems of a path. Each is answered with 400.
const (
	PathOK           PathProblem = iota
	PathNotAbsolute              // does not begin with "/"
	PathBadByte                  // a byte that no path may hold raw: controls, space, "?", "#", beyond ASCII
	PathBackslash                // a raw "\"
	PathNUL                      // %00
	PathBadEscape                // "%" without two hexadecimal digits
	PathEscapedSlash             // %2F or %5C, refused by option

	pathProblemEnd
)

var pathProblemNames = [pathProblemEnd]string{
	PathOK:           "ok",
	PathNotAbsolute:  "path_not_absolute",
	PathBadByte:      "path_bad_byte",
	PathBackslash:    "path_backslash",
	PathNUL:          "path_nul",
	PathBadEscape:    "path_bad_escape",
	PathEscapedSlash: "path_escaped_slash",
}

// String returns the problem in snake_case, for logs and metrics.
func (p PathProblem) String() string {
	if p >= pathProblemEnd {
		return "unknown"
	}
	return pathProblemNames[p]
}

// NormalPath returns the one normal form of a path (without its query) that
// matching, policies, logs and forwarding share, so that no rule is passed by
// under another spelling: escapes of unreserved characters are decoded, other
// escapes get upper-case digits, characters that no URI may hold raw are
// escaped, and dot segments are resolved, also where dots are escaped (RFC
// 3986 sections 5.2.4 and 6.2.2). ".." above the root stays at the root. %2F
// and %5C stay escaped and never act as "/". An empty path is "/".
//
// raw itself is returned when it is already normal; otherwise the path is
// built in scratch, which must not overlap raw and grows when it is too small.
func NormalPath(raw, scratch []byte, o PathOptions) (path, newScratch []byte, problem PathProblem) {
	if len(raw) == 0 {
		scratch = append(scratch[:0], '/')
		return scratch, scratch, PathOK
	}
	if raw[0] != '/' {
		return nil, scratch, PathNotAbsolute
	}
	if pathIsNormal(raw, o) {
		return raw, scratch, PathOK
	}
	scratch, problem = appendNormalPath(scratch[:0], raw, o)
	if problem != PathOK {
		return nil, scratch, problem
	}
	return scratch, scratch, PathOK
}

// The classes of a byte in a path.
const (
	pathPlain  = iota // stands for itself
	pathSlash         // ends a segment
	pathEscape        // "%"
	pathEncode        // visible, but not allowed raw by RFC 3986 section 3.3
	pathRefuse
)

var pathClass = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case isUnreserved(c), bytes.IndexByte([]byte("!$&'()*+,;=:@"), c) >= 0:
			t[i] = pathPlain
		case c == '/':
			t[i] = pathSlash
		case c == '%':
			t[i] = pathEscape
		case c <= ' ', c >= 0x7f, c == '\\', c == '?', c == '#':
			t[i] = pathRefuse
		default:
			t[i] = pathEncode
		}
	}
	return t
}()

// isUnreserved is RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// pathIsNormal is the fast path: one scan, no output.
func pathIsNormal(raw []byte, o PathOptions) bool {
	for i := 0; i < len(raw); i++ {
		class := pathClass[raw[i]]
		if class == pathPlain {
			continue
		}
		switch class {
		case pathSlash:
			if i+1 == len(raw) {
				return true
			}
			if next := raw[i+1]; next == '.' && startsWithDots(raw[i+1:]) || next == '/' && o.MergeSlashes {
				return false
			}
		case pathEscape:
			if i+2 >= len(raw) || !normalEscape(raw[i+1], raw[i+2], o) {
				return false
			}
			i += 2
		default:
			return false
		}
	}
	return true
}

// startsWithDots tells whether the first segment of rest is "." or "..".
func startsWithDots(rest []byte) bool {
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		rest = rest[:i]
	}
	return isDots(rest)
}

// normalEscape tells whether "%" with these two digits may stay as it is.
func normalEscape(a, b byte, o PathOptions) bool {
	if hexValue[a] < 0 || hexValue[b] < 0 || a >= 'a' || b >= 'a' {
		return false
	}
	c := byte(hexValue[a])<<4 | byte(hexValue[b])
	return c != 0 && !isUnreserved(c) && (!o.RejectEscapedSlashes || c != '/' && c != '\\')
}

// appendNormalPath decodes and encodes byte by byte and resolves dot segments
// as each segment ends. raw begins with "/".
func appendNormalPath(dst, raw []byte, o PathOptions) ([]byte, PathProblem) {
	dst = append(dst, '/')
	segment := 1 // where the segment that is being written begins: after a "/"
	for i := 1; i < len(raw); i++ {
		c := raw[i]
		switch pathClass[c] {
		case pathPlain:
			dst = append(dst, c)
		case pathSlash:
			switch s := dst[segment:]; {
			case isDots(s):
				dst = dst[:segment-parentLen(dst, segment, len(s))]
			case len(s) > 0 || !o.MergeSlashes:
				dst = append(dst, '/')
			}
			segment = len(dst)
		case pathEscape:
			if i+2 >= len(raw) || hexValue[raw[i+1]] < 0 || hexValue[raw[i+2]] < 0 {
				return dst, PathBadEscape
			}
			var problem PathProblem
			if dst, problem = appendEscape(dst, raw[i+1], raw[i+2], o); problem != PathOK {
				return dst, problem
			}
			i += 2
		case pathEncode:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		default:
			if c == '\\' {
				return dst, PathBackslash
			}
			return dst, PathBadByte
		}
	}
	if s := dst[segment:]; isDots(s) {
		dst = dst[:segment-parentLen(dst, segment, len(s))]
	}
	return dst, PathOK
}

// isDots tells whether a segment is "." or "..".
func isDots(s []byte) bool {
	return len(s) == 1 && s[0] == '.' || len(s) == 2 && s[0] == '.' && s[1] == '.'
}

// parentLen is how many bytes before segment a segment of so many dots takes
// back: none for ".", the parent and its "/" for "..", nothing at the root.
func parentLen(dst []byte, segment, dots int) int {
	if dots == 1 || segment == 1 {
		return 0
	}
	return segment - 1 - bytes.LastIndexByte(dst[:segment-1], '/')
}

// appendEscape writes one escape in its normal form.
func appendEscape(dst []byte, a, b byte, o PathOptions) ([]byte, PathProblem) {
	c := byte(hexValue[a])<<4 | byte(hexValue[b])
	switch {
	case c == 0:
		return dst, PathNUL
	case isUnreserved(c):
		return append(dst, c), PathOK
	case o.RejectEscapedSlashes && (c == '/' || c == '\\'):
		return dst, PathEscapedSlash
	}
	return append(dst, '%', upperHex[c>>4], upperHex[c&15]), PathOK
}
