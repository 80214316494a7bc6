package secure

import "encoding/base64"

// AppendField appends a certificate as the value of Client-Cert: a byte sequence
// of structured fields (RFC 9440 section 2.1, RFC 8941 section 3.3.5).
func AppendField(dst, der []byte) []byte {
	dst = append(dst, ':')
	dst = base64.StdEncoding.AppendEncode(dst, der)
	return append(dst, ':')
}
