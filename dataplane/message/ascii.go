package message

// lowerTable maps ASCII capitals to small letters and every other byte to
// itself.
var lowerTable = func() (t [256]byte) {
	for i := range t {
		c := byte(i)
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		t[i] = c
	}
	return t
}()

// AppendLower appends b in lower case (ASCII letters only).
func AppendLower(dst, b []byte) []byte {
	for _, c := range b {
		dst = append(dst, lowerTable[c])
	}
	return dst
}

const upperHex = "0123456789ABCDEF"

// hexValue is the value of a hexadecimal digit, -1 for any other byte.
var hexValue = func() (t [256]int8) {
	for i := range t {
		switch c := byte(i); {
		case '0' <= c && c <= '9':
			t[i] = int8(c - '0')
		case 'a' <= c && c <= 'f':
			t[i] = int8(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			t[i] = int8(c - 'A' + 10)
		default:
			t[i] = -1
		}
	}
	return t
}()
