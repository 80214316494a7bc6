package resource

import (
	"net/netip"
	"regexp/syntax"
	"strconv"
	"strings"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// maxRegex bounds a pattern: a longer one is a table, which belongs elsewhere.
	maxRegex = 4096
	// maxPath and maxFieldValue keep what a route writes well under the head that
	// peers accept (64 KiB by default).
	maxPath       = 8192
	maxFieldValue = 16384
	// maxUnixPath is what fits into a socket address on Linux (unix(7): 108 with
	// the final NUL).
	maxUnixPath = 107
	// maxToken bounds methods and field names.
	maxToken = 256
)

// describeFormat says what a format accepts, as a problem's expected text.
func describeFormat(f fleetv1.Format) string {
	switch f {
	case fleetv1.Format_DURATION:
		return "a duration such as 500ms, 2s or 1m30s"
	case fleetv1.Format_SIZE:
		return "a size such as 64KiB or 1MiB"
	case fleetv1.Format_PERCENT:
		return "a percentage such as 5%"
	case fleetv1.Format_ENDPOINT_ADDRESS:
		return "an IP address and a port from 1 to 65535: 10.0.0.1:80, [2001:db8::1]:80; or unix:/path"
	case fleetv1.Format_CIDR:
		return "an address or a prefix: 10.0.0.0/8, 2001:db8::/32"
	case fleetv1.Format_REGEX:
		return "a regular expression in RE2 syntax"
	case fleetv1.Format_HOST_PATTERN:
		return "a host name in lower case without a port, or *. and a host name"
	case fleetv1.Format_FIELD_NAME:
		return "the name of an HTTP field: letters, digits and !#$%&'*+-.^_`|~"
	case fleetv1.Format_FIELD_VALUE:
		return "the value of an HTTP field: no control characters, no spaces around it"
	case fleetv1.Format_METHOD:
		return "an HTTP method such as GET"
	case fleetv1.Format_PATH:
		return "a path in normal form that begins with /, without a query"
	case fleetv1.Format_LISTEN_ADDRESS:
		return "NODE, vip/<name> or an IP address without a port"
	case fleetv1.Format_RETRY_CONDITION:
		return "CONNECT_FAILURE, RESET, TIMEOUT, REFUSED_STREAM, STATUS_5XX or STATUS_<code> from 400 to 599"
	case fleetv1.Format_HOST:
		return "a host name in lower case or an IP address, with :port or not"
	case fleetv1.Format_SINGLE_ADDRESS:
		return "one IP address, with /32 (IPv6: /128) or without"
	case fleetv1.Format_UPGRADE:
		return "a protocol to switch to, in lower case and without a version, such as websocket; not h2c or another HTTP; or NONE alone"
	case fleetv1.Format_CONNECT_TARGET:
		return "a host name in lower case, or *. and a host name, with a port: name:443"
	default:
		return "a string"
	}
}

// checkFormat tells what is wrong with s as text of a format; nil if nothing is.
func checkFormat(f fleetv1.Format, s string) *complaint {
	near, ok := "", true
	switch f {
	case fleetv1.Format_ENDPOINT_ADDRESS:
		near, ok = checkEndpointAddress(s)
	case fleetv1.Format_CIDR:
		near, ok = checkCIDR(s)
	case fleetv1.Format_REGEX:
		return checkRegex(s)
	case fleetv1.Format_HOST_PATTERN:
		near, ok = checkHostPattern(s)
	case fleetv1.Format_FIELD_NAME:
		near, ok = strings.TrimRight(strings.TrimSpace(s), ":"), isToken(s)
	case fleetv1.Format_FIELD_VALUE:
		near, ok = checkFieldValue(s)
	case fleetv1.Format_METHOD:
		near, ok = checkMethod(s)
	case fleetv1.Format_PATH:
		near, ok = checkPath(s)
	case fleetv1.Format_LISTEN_ADDRESS:
		near, ok = checkListenAddress(s)
	case fleetv1.Format_RETRY_CONDITION:
		near, ok = checkRetryCondition(s)
	case fleetv1.Format_HOST:
		near, ok = checkHost(s)
	case fleetv1.Format_SINGLE_ADDRESS:
		near, ok = checkSingleAddress(s)
	case fleetv1.Format_UPGRADE:
		near, ok = checkUpgrade(s)
	case fleetv1.Format_CONNECT_TARGET:
		near, ok = checkConnectTarget(s)
	}
	if ok {
		return nil
	}
	if near == s || near != "" && checkFormat(f, near) != nil {
		near = "" // a suggestion must be good itself
	}
	expected := describeFormat(f)
	if f == fleetv1.Format_HOST_PATTERN && (s == "*" || s == "_") {
		expected += "; for every host leave hosts out"
	}
	return &complaint{expected: expected, suggestion: near}
}

func checkEndpointAddress(s string) (near string, ok bool) {
	if path, isUnix := strings.CutPrefix(s, "unix:"); isUnix {
		return "", strings.HasPrefix(path, "/") && len(path) <= maxUnixPath && printable(path)
	}
	for _, scheme := range []string{"http://", "https://", "tcp://"} {
		if rest, found := strings.CutPrefix(s, scheme); found {
			near = strings.TrimRight(rest, "/")
			if _, ok := checkEndpointAddress(near); ok {
				return near, false
			}
			return "", false
		}
	}
	host, port, ok := cutPort(s)
	if !ok || !validPort(port) {
		return withPort(s), false
	}
	if bare, isV6 := strings.CutPrefix(host, "["); isV6 {
		a, err := netip.ParseAddr(strings.TrimSuffix(bare, "]"))
		return "", err == nil && a.Is6() && !a.Is4In6() && connectable(a)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Is6() {
			return "[" + host + "]:" + port, false
		}
		return "", connectable(a)
	}
	if validHostName(host) {
		return "", true
	}
	if low := strings.ToLower(host); validHostName(low) {
		return low + ":" + port, false
	}
	return withPort(s), false
}

// withPort adds the port that was probably meant to a bare address or name.
func withPort(s string) string {
	if a, err := netip.ParseAddr(s); err == nil && connectable(a) && !a.Is4In6() {
		return netip.AddrPortFrom(a, 80).String()
	}
	if low := strings.ToLower(s); validHostName(low) {
		return low + ":80"
	}
	return ""
}

// connectable is false for addresses that no server can have.
func connectable(a netip.Addr) bool { return !a.IsUnspecified() && !a.IsMulticast() }

// cutPort splits at the last colon; brackets stay with the host.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 || strings.HasPrefix(s, "[") && s[i-1] != ']' {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// validPort accepts 1 to 65535 without leading zeros.
func validPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0' && s[0] != '+'
}

// validHostName accepts a name of lower-case DNS labels (RFC 1123 section 2.1),
// and underscores, which real zones hold. The last label is not a number: such
// a name would be a mistyped IPv4 address.
func validHostName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			!onlyBytes(label, func(c byte) bool { return c >= 'a' && c <= 'z' || isDigit(c) || c == '-' || c == '_' }) {
			return false
		}
		last = label
	}
	return !onlyBytes(last, isDigit)
}

// validHostLiteral accepts an IP address as it stands in Host: IPv6 in brackets.
func validHostLiteral(s string) bool {
	if inner, found := strings.CutPrefix(s, "["); found && strings.HasSuffix(inner, "]") {
		a, err := netip.ParseAddr(inner[:len(inner)-1])
		return err == nil && a.Is6() && a.Zone() == "" && a.String() == inner[:len(inner)-1]
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4()
}

func checkHostPattern(s string) (near string, ok bool) {
	if s == "_" { // nginx's name for every host, which no client asks for
		return "", false
	}
	if validHostName(strings.TrimPrefix(s, "*.")) || validHostLiteral(s) {
		return "", true
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && a.Is6() && a.Zone() == "" {
		return "[" + a.String() + "]", false
	}
	near = strings.ToLower(s)
	for _, scheme := range []string{"http://", "https://"} {
		near = strings.TrimPrefix(near, scheme)
	}
	near, _, _ = strings.Cut(near, "/")
	if h, _, cut := cutPort(near); cut {
		near = h
	}
	near = strings.TrimSuffix(near, ".")
	if strings.HasPrefix(near, ".") {
		near = "*" + near
	}
	if near != s && (validHostName(strings.TrimPrefix(near, "*.")) || validHostLiteral(near)) {
		return near, false
	}
	return "", false
}

func checkHost(s string) (near string, ok bool) {
	host := s
	if h, port, cut := cutPort(s); cut && validPort(port) {
		host = h
	}
	if validHostName(host) || validHostLiteral(host) {
		return "", true
	}
	if low := strings.ToLower(s); low != s {
		if _, ok := checkHost(low); ok {
			return low, false
		}
	}
	return "", false
}

func checkCIDR(s string) (near string, ok bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Is4In6() {
			return a.Unmap().String(), false
		}
		return "", a.Zone() == ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return "", false
	}
	return p.Masked().String(), p == p.Masked()
}

func checkSingleAddress(s string) (near string, ok bool) {
	address, bits, found := strings.Cut(s, "/")
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" || a.Is4In6() || !connectable(a) {
		return "", false
	}
	full := strconv.Itoa(a.BitLen())
	return address + "/" + full, !found || bits == full
}

func checkListenAddress(s string) (near string, ok bool) {
	if s == "NODE" {
		return "", true
	}
	if name, found := strings.CutPrefix(s, "vip/"); found {
		return "", ValidName(name)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return "", a.Zone() == "" && !a.Is4In6() && !a.IsMulticast()
	}
	if strings.EqualFold(s, "node") || s == "*" {
		return "NODE", false
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().String(), false
	}
	if name, found := strings.CutPrefix(strings.ToLower(s), "vip/"); found && ValidName(name) {
		return "vip/" + name, false
	}
	return "", false
}

func checkRegex(s string) *complaint {
	if s == "" || len(s) > maxRegex {
		return &complaint{expected: describeFormat(fleetv1.Format_REGEX) + ", of 1 to 4096 bytes"}
	}
	if _, err := syntax.Parse(s, syntax.Perl); err != nil {
		reason := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		return &complaint{expected: describeFormat(fleetv1.Format_REGEX) + " (" + reason + ")"}
	}
	return nil
}

func checkRetryCondition(s string) (near string, ok bool) {
	conditions := []string{"CONNECT_FAILURE", "RESET", "TIMEOUT", "REFUSED_STREAM", "STATUS_5XX"}
	for _, c := range conditions {
		if s == c {
			return "", true
		}
	}
	code, found := strings.CutPrefix(strings.ToUpper(s), "STATUS_")
	if !found {
		code = s
	}
	if n, err := strconv.Atoi(code); err == nil && len(code) == 3 && n >= 400 && n <= 599 {
		return "STATUS_" + code, s == "STATUS_"+code
	}
	if strings.EqualFold(code, "5xx") {
		return "STATUS_5XX", false
	}
	return Nearest(strings.ReplaceAll(s, "-", "_"), conditions), false
}

// checkUpgrade refuses HTTP in other words: requests in a tunnel would pass by
// every route and limit.
func checkUpgrade(s string) (near string, ok bool) {
	if strings.EqualFold(s, upgradeNone) {
		return upgradeNone, s == upgradeNone
	}
	name, _, _ := strings.Cut(strings.ToLower(s), "/")
	switch name {
	case "h2c", "h2", "h3", "http", "https", "tls":
		return "", false
	}
	if name != s {
		near = name
	}
	return near, isToken(s) && name == s
}

// upgradeNone stands in a list of upgrades to allow none.
const upgradeNone = "NONE"

func checkConnectTarget(s string) (near string, ok bool) {
	host, port, cut := cutPort(s)
	if !cut {
		return s + ":443", false
	}
	near, ok = checkHostPattern(host)
	if near != "" {
		near += ":" + port
	}
	return near, ok && validPort(port)
}
