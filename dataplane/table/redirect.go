package table

import (
	"regexp"
	"strconv"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// PathChange is what happens to a path on its way.
type PathChange uint8

// The changes.
const (
	PathKeep          PathChange = iota
	PathReplace                  // the whole path
	PathReplacePrefix            // the part that the route's prefix matched
	PathReplaceRegex             // every match of a pattern
)

// Redirect is an answer that sends the client elsewhere.
type Redirect struct {
	Status    uint16
	Scheme    string // "http" or "https"; empty: as requested
	Host      string // empty: as requested
	Port      uint16 // 0: as requested, or the default of a new Scheme
	Change    PathChange
	Path      string // the new path or prefix
	Matched   string // of PathReplacePrefix: the route's prefix
	KeepQuery bool
}

// NeedsHost says that the request must name the host to which it is sent.
func (r *Redirect) NeedsHost() bool { return r.Host == "" && (r.Scheme != "" || r.Port != 0) }

// AppendLocation appends the value of the Location field for a request with the
// given scheme, authority as received (port included), normal path and query.
//
// Where neither scheme nor host nor port change it is a path-absolute reference
// (RFC 3986 section 4.2), which cannot name another host; else a whole URI. A
// new scheme without a new port means that scheme's default port. Bytes that
// could end the field, or leave the part of the URI in which they stand, are
// percent-encoded.
func (r *Redirect) AppendLocation(dst []byte, scheme string, authority, path, rawQuery []byte, hasQuery bool) []byte {
	absolute := r.Scheme != "" || r.Host != "" || r.Port != 0
	if absolute {
		dst = r.appendOrigin(dst, scheme, authority)
	}
	start := len(dst)
	dst = appendChanged(dst, r.Change, path, r.Path, r.Matched)
	if len(dst) == start {
		dst = append(dst, '/') // an empty path is that of "*" or CONNECT
	}
	if !absolute && len(dst) > start+1 && dst[start+1] == '/' {
		// "//x" would be a network-path reference, another host (RFC 3986 section
		// 4.2): "/.//x" is the same path here, as URL parsers write it themselves.
		dst = append(dst, 0, 0)
		copy(dst[start+2:], dst[start:])
		dst[start+1] = '.'
	}
	if r.KeepQuery && hasQuery {
		dst = append(dst, '?')
		dst = appendSafe(dst, rawQuery, safeInQuery)
	}
	return dst
}

func (r *Redirect) appendOrigin(dst []byte, scheme string, authority []byte) []byte {
	host, port := splitPort(authority)
	newScheme := r.Scheme != "" && r.Scheme != scheme
	if r.Scheme != "" {
		scheme = r.Scheme
	}
	dst = append(dst, scheme...)
	dst = append(dst, "://"...)
	if r.Host != "" {
		dst = append(dst, r.Host...)
	} else {
		dst = appendSafe(dst, host, safeInHost)
	}
	switch {
	case r.Port != 0:
		if !defaultPort(scheme, r.Port) {
			dst = append(dst, ':')
			dst = strconv.AppendUint(dst, uint64(r.Port), 10)
		}
	case !newScheme && len(port) > 0:
		dst = append(dst, ':')
		dst = append(dst, port...)
	}
	return dst
}

func defaultPort(scheme string, port uint16) bool {
	return scheme == "http" && port == 80 || scheme == "https" && port == 443
}

// splitPort cuts ":8080" off an authority; port is nil unless it is all digits.
func splitPort(authority []byte) (host, port []byte) {
	for i := len(authority) - 1; i >= 0; i-- {
		c := authority[i]
		if c == ':' {
			return authority[:i], authority[i+1:]
		}
		if c < '0' || c > '9' {
			break
		}
	}
	return authority, nil
}

// Rewrite changes what goes upstream.
type Rewrite struct {
	Host         []byte // replaces Host; nil: as requested
	Change       PathChange
	Path         string // the new path or prefix
	Matched      string // of PathReplacePrefix: the route's prefix
	Regex        *regexp.Regexp
	Substitution string // of PathReplaceRegex; $1 and ${name} are groups
}

// AppendPath appends the path for the upstream, made from a path in normal form.
// The result holds no byte that could end the request line or begin a query, and
// begins with "/"; only the empty path of "*" and CONNECT stays empty. What a
// regex makes is brought into normal form, so that no ".." comes to be; it
// allocates, the others do not.
func (rw *Rewrite) AppendPath(dst, path []byte) []byte {
	if len(path) == 0 {
		return dst
	}
	if rw.Change == PathReplaceRegex {
		return rw.appendReplaced(dst, path)
	}
	return appendChanged(dst, rw.Change, path, rw.Path, rw.Matched)
}

func (rw *Rewrite) appendReplaced(dst, path []byte) []byte {
	made := rw.Regex.ReplaceAll(path, []byte(rw.Substitution))
	safe := make([]byte, 0, len(made)+1)
	if len(made) == 0 || made[0] != '/' {
		safe = append(safe, '/')
	}
	safe = appendSafe(safe, made, safeInPath)
	normal, _, problem := message.NormalPath(safe, nil, message.PathOptions{})
	if problem != message.PathOK {
		return append(dst, path...) // %00, say, put together by the pattern
	}
	return append(dst, normal...)
}

// appendChanged appends path with the change applied.
func appendChanged(dst []byte, change PathChange, path []byte, text, matched string) []byte {
	switch change {
	case PathReplace:
		return append(dst, text...)
	case PathReplacePrefix:
		return appendNewPrefix(dst, path, text, matched)
	}
	return appendSafe(dst, path, safeInPath)
}

// appendNewPrefix replaces matched by text at the beginning of path, with exactly
// one "/" between text and what follows: "/api" → "/v2" turns "/api/x" into
// "/v2/x", and "/api" → "/" into "/x". A path that is the prefix itself becomes
// text as written.
func appendNewPrefix(dst, path []byte, text, matched string) []byte {
	cut := len(matched)
	if cut > 0 && matched[cut-1] == '/' {
		cut--
	}
	if cut >= len(path) || path[cut] != '/' {
		return append(dst, text...)
	}
	rest := path[cut:]
	if n := len(text); n > 0 && text[n-1] == '/' {
		text = text[:n-1]
	}
	dst = append(dst, text...)
	return appendSafe(dst, rest, safeInPath)
}

// The parts of a URI that a byte may stand in as it is. These are wider than
// RFC 3986: what the normal form leaves alone is left alone here too.
const (
	safeInPath uint8 = 1 << iota
	safeInQuery
	safeInHost
)

// safeBytes is safeIn for every byte.
var safeBytes = func() (t [256]uint8) {
	for i := range t {
		t[i] = safeIn(byte(i))
	}
	return t
}()

func safeIn(c byte) (parts uint8) {
	if c <= ' ' || c >= 0x7f || c == '%' {
		return 0
	}
	switch c {
	case '#', '\\', '"', '<', '>':
		return 0
	case '?':
		return safeInQuery
	case '/', '@', '^', '`', '{', '|', '}':
		return safeInPath | safeInQuery
	}
	return safeInPath | safeInQuery | safeInHost
}

// appendSafe appends b, percent-encoding each byte that is not safe in part. A
// "%" that begins an escape is kept.
func appendSafe(dst, b []byte, part uint8) []byte {
	const digits = "0123456789ABCDEF"
	for i, c := range b {
		switch {
		case safeBytes[c]&part != 0, c == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]):
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
