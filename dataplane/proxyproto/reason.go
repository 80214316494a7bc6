package proxyproto

// Reason says what is wrong with a header. The set is closed, so that refusals
// can be counted.
type Reason uint8

// The reasons.
const (
	NoReason Reason = iota

	// Version 1.
	LineTooLong // no end within 107 bytes
	BareLF      // the line ends without CR
	BadLine     // not four words behind the family, with one space before each
	BadAddress  // not an address of the family
	BadPort     // not 0 to 65535 without leading zeros

	// Version 2.
	BadVersion     // the signature, and then not 2
	BadCommand     // neither LOCAL nor PROXY
	ShortAddresses // shorter than the addresses of the family
	TooLarge       // more than MaxBytes
	BadTLV         // a TLV that does not end with the header, or two checksums
	BadChecksum    // CRC32C differs

	// Both.
	BadFamily // one that the specification does not have

	reasonEnd
)

var reasonNames = [reasonEnd]string{
	"", "line_too_long", "bare_lf", "bad_line", "bad_address", "bad_port",
	"bad_version", "bad_command", "short_addresses", "too_large", "bad_tlv", "bad_checksum",
	"bad_family",
}

// String returns the reason in snake_case; empty for NoReason.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return reasonNames[r]
}

// Reasons lists every reason that has a name, for metrics.
func Reasons() []Reason {
	out := make([]Reason, 0, int(reasonEnd)-1)
	for r := NoReason + 1; r < reasonEnd; r++ {
		out = append(out, r)
	}
	return out
}
