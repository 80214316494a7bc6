package clienthello

// Reason says why there is no ClientHello. The set is closed, so that refusals
// can be counted.
type Reason uint8

// The reasons.
const (
	NoReason          Reason = iota
	NotTLS                   // not the head of a handshake record
	BadRecord                // an empty record, or one larger than TLS allows
	NotClientHello           // another handshake message
	TooLarge                 // more than MaxBytes, or in too many records
	Malformed                // lengths that do not fit
	BadName                  // not one host name
	RepeatedExtension        // server_name or ALPN twice

	reasonEnd
)

var reasonNames = [reasonEnd]string{
	"", "not_tls", "bad_record", "not_client_hello", "too_large", "malformed", "bad_name", "repeated_extension",
}

// String returns the reason in snake_case; empty for NoReason.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return reasonNames[r]
}
