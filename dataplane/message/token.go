package message

// tokenTable has the characters of a token (RFC 9110 section 5.6.2).
var tokenTable = func() (t [256]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// valueTable has the bytes of a field value (RFC 9110 section 5.5): visible
// ASCII, space, tab, and bytes beyond ASCII.
var valueTable = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != 0x7f || c == '\t'
	}
	return t
}()

// IsTokenByte tells whether a field name or a method may hold c.
func IsTokenByte(c byte) bool { return tokenTable[c] }

// IsValueByte tells whether a field value may hold c.
func IsValueByte(c byte) bool { return valueTable[c] }

// TokenLen is the length of the token at the beginning of b.
func TokenLen(b []byte) int {
	n := 0
	for n < len(b) && tokenTable[b[n]] {
		n++
	}
	return n
}

// ValidFieldName tells whether b can be a field name. What comes from a codec
// is valid; what comes from elsewhere must be checked before it is encoded.
func ValidFieldName(b []byte) bool { return len(b) > 0 && TokenLen(b) == len(b) }

// HexValue is the value of a hexadecimal digit, -1 for any other byte.
func HexValue(c byte) int { return int(hexValue[c]) }
