package secure

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
)

// Result is how a handshake ended, or a connection after it.
type Result uint8

// The results.
const (
	ResultFull            Result = iota // a handshake with certificates
	ResultResumed                       // one that resumed a session
	ResultTimeout                       // it took too long
	ResultGone                          // the peer left
	ResultRefused                       // too many are under way
	ResultPlain                         // a request without TLS came
	ResultNotTLS                        // something else came
	ResultHelloTooLarge                 // a ClientHello of more than clienthello.MaxBytes
	ResultVersion                       // no version in common
	ResultCipher                        // no cipher, curve or signature in common
	ResultProtocol                      // no application protocol in common
	ResultPeerCertificate               // the peer's certificate is missing or not good
	ResultPeerAlert                     // the peer gave up and said so
	ResultMalformed                     // the peer broke the rules of the handshake
	ResultBadRecord                     // after the handshake: a record that is none
	ResultAborted                       // the node gave up
	ResultShed                          // there were too many, and it had waited for its peer the longest
	resultCount
)

var resultNames = [resultCount]string{
	"full", "resumed", "timeout", "peer_gone", "refused", "plain_http", "not_tls", "hello_too_large", "version", "cipher",
	"application_protocol", "peer_certificate", "peer_alert", "malformed", "bad_record", "aborted", "shed",
}

// String is the result as metrics and logs name it.
func (r Result) String() string {
	if r >= resultCount {
		return "unknown"
	}
	return resultNames[r]
}

// Results is how many there are.
const Results = int(resultCount)

// Result tells the result of a handshake that is over.
func (c *Conn) Result() Result {
	err := c.failed
	var (
		cert   *tls.CertificateVerificationError
		header tls.RecordHeaderError
		op     *net.OpError
	)
	switch {
	case err == nil && c.State().DidResume:
		return ResultResumed
	case err == nil:
		return ResultFull
	case errors.Is(err, errAborted):
		return ResultAborted
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ResultGone
	case errors.As(err, &cert):
		return ResultPeerCertificate
	case errors.As(err, &header):
		return ResultNotTLS
	case errors.As(err, &op) && op.Op == "remote error":
		return ResultPeerAlert
	}
	return resultOfText(err.Error())
}

// resultOfText reads what crypto/tls has only words for. What it does not know is
// malformed; the tests hold the words against the Go release in use.
func resultOfText(text string) Result {
	for _, known := range [...]struct {
		part   string
		result Result
	}{
		{"unsupported versions", ResultVersion},
		{"client offered only unsupported", ResultVersion},
		{"server selected unsupported protocol version", ResultVersion},
		{"application protocol", ResultProtocol},
		{"no cipher suite supported", ResultCipher},
		{"no ECDHE curve supported", ResultCipher},
		{"no key exchanges supported", ResultCipher},
		{"signature algorithm", ResultCipher},
		{"didn't provide a certificate", ResultPeerCertificate},
		{"no client certificate", ResultPeerCertificate},
		{"certificate", ResultPeerCertificate},
	} {
		if strings.Contains(text, known.part) {
			return known.result
		}
	}
	return ResultMalformed
}
