package http1

// Reason says why a Reader failed. The set is closed: each rule that a message
// can break has its own, so that refusals can be counted.
type Reason uint8

// The reasons. The comment gives the rule's section, of RFC 9112 unless named.
const (
	NoReason Reason = iota

	// Start lines.
	BadRequestLine     // 3: not "method SP target SP version"
	BadMethod          // 3.1: not a token
	BadTarget          // 3.2: a form that the method may not use, or none at all
	BadTargetByte      // RFC 3986 2: a byte that a target may not hold
	TargetFragment     // RFC 9110 7.1: "#" in the target
	TargetUserinfo     // RFC 9110 4.2.4: user information in an authority
	BadVersion         // 2.3: not "HTTP/" digit "." digit
	UnsupportedVersion // RFC 9110 15.6.6: neither 1.0 nor 1.1
	RequestLineTooLong // 3: longer than MaxRequestLine
	BadStatusLine      // 4
	BadStatus          // RFC 9110 15: not 100 to 599
	BadReasonPhrase    // 4: a control byte in it

	// Lines and fields.
	BareLF           // 2.2: a line ends without CR
	BareCR           // 2.2: CR without LF
	ObsFold          // 5.2: a line begins with white space
	SpaceBeforeColon // 5.1
	EmptyFieldName   // 5.1
	BadFieldName     // 5.1: not a token
	MissingColon     // 5.1
	BadFieldValue    // RFC 9110 5.5: NUL or another control byte
	HeadTooLarge     // 5: more than Limits.HeadBytes
	TooManyFields    // 5: more than Limits.Fields, or than MaxOptions in Connection

	// Framing.
	BadContentLength         // 6.3: not one decimal number
	ContentTooLarge          // 6.3, RFC 9110 8.6: a Content-Length beyond 63 bits
	RepeatedContentLength    // 6.3: more than one field line or a list
	LengthAndEncoding        // 6.1: Content-Length with Transfer-Encoding
	BadTransferEncoding      // 6.1: malformed, chunked twice or not last
	RepeatedTransferEncoding // 6.1: more than one field line
	UnknownTransferEncoding  // 6.1: a coding other than chunked
	EncodingIn10             // 6.1: Transfer-Encoding in HTTP/1.0
	UnexpectedBody           // RFC 9110 9.3.6, 9.3.8: CONNECT or TRACE with a body

	// Host and expectations.
	MissingHost        // 3.2
	RepeatedHost       // 3.2
	BadHost            // 3.2: not a host with an optional port
	HostMismatch       // 3.2.2: differs from the authority of the target
	UnknownExpectation // RFC 9110 10.1.1

	// Chunked bodies.
	BadChunkSize           // 7.1: not hexadecimal, or white space around it
	ChunkTooLarge          // 7.1: does not fit in 63 bits
	BadChunkExtension      // 7.1.1
	ChunkExtensionTooLarge // 7.1.1: more than MaxChunkExtension or MaxChunkExtensions
	BadChunkEnd            // 7.1: chunk data without CRLF behind it
	ForbiddenTrailer       // RFC 9110 6.5.1: a field that frames or routes
	TrailerTooLarge        // 7.1.2

	// The course of a connection.
	UnsolicitedResponse // 9.2: bytes from a server that was asked nothing
	TooManyInterim      // RFC 9110 15.2: more than MaxInterim
	TruncatedHead       // 8: closed within a head
	TruncatedBody       // 8: closed within a body

	reasonEnd
)

type reasonText struct {
	name   string
	status uint16
}

var reasonTexts = [reasonEnd]reasonText{
	NoReason: {"none", 0},

	BadRequestLine:     {"bad_request_line", 400},
	BadMethod:          {"bad_method", 400},
	BadTarget:          {"bad_target", 400},
	BadTargetByte:      {"bad_target_byte", 400},
	TargetFragment:     {"target_fragment", 400},
	TargetUserinfo:     {"target_userinfo", 400},
	BadVersion:         {"bad_version", 400},
	UnsupportedVersion: {"unsupported_version", 505},
	RequestLineTooLong: {"request_line_too_long", 414},
	BadStatusLine:      {"bad_status_line", 502},
	BadStatus:          {"bad_status", 502},
	BadReasonPhrase:    {"bad_reason_phrase", 502},

	BareLF:           {"bare_lf", 400},
	BareCR:           {"bare_cr", 400},
	ObsFold:          {"obs_fold", 400},
	SpaceBeforeColon: {"space_before_colon", 400},
	EmptyFieldName:   {"empty_field_name", 400},
	BadFieldName:     {"bad_field_name", 400},
	MissingColon:     {"missing_colon", 400},
	BadFieldValue:    {"bad_field_value", 400},
	HeadTooLarge:     {"head_too_large", 431},
	TooManyFields:    {"too_many_fields", 431},

	BadContentLength:         {"bad_content_length", 400},
	ContentTooLarge:          {"content_too_large", 413},
	RepeatedContentLength:    {"repeated_content_length", 400},
	LengthAndEncoding:        {"length_and_encoding", 400},
	BadTransferEncoding:      {"bad_transfer_encoding", 400},
	RepeatedTransferEncoding: {"repeated_transfer_encoding", 400},
	UnknownTransferEncoding:  {"unknown_transfer_encoding", 501},
	EncodingIn10:             {"encoding_in_http_1_0", 400},
	UnexpectedBody:           {"unexpected_body", 400},

	MissingHost:        {"missing_host", 400},
	RepeatedHost:       {"repeated_host", 400},
	BadHost:            {"bad_host", 400},
	HostMismatch:       {"host_mismatch", 400},
	UnknownExpectation: {"unknown_expectation", 417},

	BadChunkSize:           {"bad_chunk_size", 400},
	ChunkTooLarge:          {"chunk_too_large", 413},
	BadChunkExtension:      {"bad_chunk_extension", 400},
	ChunkExtensionTooLarge: {"chunk_extension_too_large", 400},
	BadChunkEnd:            {"bad_chunk_end", 400},
	ForbiddenTrailer:       {"forbidden_trailer", 400},
	TrailerTooLarge:        {"trailer_too_large", 431},

	UnsolicitedResponse: {"unsolicited_response", 502},
	TooManyInterim:      {"too_many_interim", 502},
	TruncatedHead:       {"truncated_head", 400},
	TruncatedBody:       {"truncated_body", 400},
}

// String returns the reason in snake_case, for metrics and logs.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return reasonTexts[r].name
}

// Status is the status code that answers a request that failed for r. What a
// Reader of role Client refuses is always answered with 502 (Bad Gateway):
// the client did nothing wrong.
func (r Reason) Status() uint16 {
	if r >= reasonEnd {
		return 400
	}
	return reasonTexts[r].status
}
