package loadgen

import "crypto/tls"

// protocolHTTP1 is what ALPN calls HTTP/1.1 (RFC 7301 section 6).
const protocolHTTP1 = "http/1.1"

// ClientTLS is how everybody here speaks TLS: the version, the cipher and the
// curve that all proxies are held to. Certificates are not checked: the run made
// them itself. protocol is what ALPN offers; empty: nothing.
func ClientTLS(protocol string) *tls.Config {
	c := &tls.Config{
		InsecureSkipVerify: true, // the run made the certificate itself
		MinVersion:         tls.VersionTLS13,
		CurvePreferences:   []tls.CurveID{tls.X25519},
	}
	if protocol != "" {
		c.NextProtos = []string{protocol}
	}
	return c
}
