package http2

// Reason says why a stream was reset or a connection has failed. The set is
// closed: each rule that a peer can break has its own, so that refusals can be
// counted.
type Reason uint8

// The reasons. The comment gives the rule's section, of RFC 9113 unless named.
const (
	NoReason Reason = iota

	// Of the connection.
	BadPreface             // 3.4: not the connection preface
	MissingSettings        // 3.4: the first frame is not SETTINGS
	FrameTooLarge          // 4.2: beyond SETTINGS_MAX_FRAME_SIZE
	BadFrameLength         // 6: a length that this type cannot have
	BadPadding             // 6.1: as long as the frame, or longer
	BadFrameStream         // 6: a stream where none may be, or none where one must be
	BadStreamID            // 5.1.1: of the other side's, or lower than one before
	FrameOnIdleStream      // 5.1
	FrameOnClosedStream    // 5.1: after the peer ended it
	ExpectedContinuation   // 6.10: another frame within a field block
	UnexpectedContinuation // 6.10: CONTINUATION outside of one
	UnexpectedPushPromise  // 6.6, 8.4: push is off
	BadCompression         // 4.3: RFC 7541
	BadSetting             // 6.5.2, RFC 8441 3, RFC 9218 2.1: a value out of range
	BadWindowSetting       // 6.5.2, 6.9.2: an initial window beyond 2^31-1, or that makes one so
	BadGoAway              // 6.8: with a higher last stream than before
	ConnWindowOverflow     // 6.9.1: beyond 2^31-1
	ConnWindowExceeded     // 6.9: more data than the connection's window
	ConnZeroIncrement      // 6.9
	BlockTooLarge          // 10.5.1: a field block beyond any that could be answered
	ContinuationFlood      // 10.5: more CONTINUATION frames than fields need
	ResetFlood             // 10.5: streams begun and reset (CVE-2023-44487)
	ErrorFlood             // 10.5: streams that we must reset (CVE-2025-8671)
	RefusedFlood           // 10.5: streams beyond the limit, again and again
	SettingsFlood          // 10.5
	PingFlood              // 10.5
	EmptyDataFlood         // 10.5
	WindowUpdateFlood      // 10.5
	PriorityFlood          // 10.5
	UnknownFrameFlood      // 10.5
	StrayFrameFlood        // 10.5: frames of streams that are closed
	HeadFlood              // 10.5.1: bytes of heads that are refused, or come too late
	SlowHead               // 10.5: a frame, or a field block, that did not come whole in time; said by the caller

	// Of a stream.
	TooManyStreams       // 5.1.2
	HalfClosedFrame      // 5.1: DATA or HEADERS after END_STREAM
	ResetStreamFrame     // 5.1: a frame after the peer's RST_STREAM
	SelfDependency       // RFC 7540 5.3.1: a stream that depends on itself
	BadPriorityLength    // 6.3
	StreamWindowOverflow // 6.9.1
	StreamWindowExceeded // 6.9
	ZeroIncrement        // 6.9
	DataBeforeHead       // 8.1: DATA before the response's HEADERS
	TrailersWithoutEnd   // 8.1: a second HEADERS without END_STREAM
	TunnelTrailers       // 8.5: HEADERS on a stream of CONNECT
	LengthMismatch       // 8.1.1: content-length is not the sum of DATA
	SlowReader           // 10.5: windows that were not opened for what waits; said by the caller
	SlowBody             // 10.5: a body that did not end in time behind its answer; said by the caller

	// Of a head. All make a message malformed (8.1.1), but for those with a status.
	UpperCaseName      // 8.2
	BadFieldName       // 8.2.1
	BadFieldValue      // 8.2.1: NUL, CR, LF, another control byte, or white space around it
	ConnectionField    // 8.2.2: a field of the connection, or TE beyond "trailers"
	UnknownPseudo      // 8.3: or one that this message may not have
	RepeatedPseudo     // 8.3
	LatePseudo         // 8.3: behind a field, or in trailers
	MissingPseudo      // 8.3.1, 8.3.2
	BadMethod          // RFC 9110 9.1: not a token
	BadScheme          // RFC 3986 3.1
	BadPath            // 8.3.1: a form that the method may not use, or a byte that no path may hold
	BadAuthority       // 8.3.1: not a host with an optional port
	BadProtocol        // RFC 8441 4: not a token, or we did not offer it
	BadStatus          // 8.3.2, 8.6: not three digits, or 101
	MissingHost        // 8.3.1: neither :authority nor host
	RepeatedHost       // RFC 9112 3.2
	HostMismatch       // 8.3.1: host is not :authority
	BadContentLength   // RFC 9110 8.6
	RepeatedLength     // RFC 9110 8.6
	UnexpectedBody     // RFC 9110 9.3.8: TRACE with a body; 8.1: an interim response that ends
	TooManyInterim     // RFC 9110 15.2: more than MaxInterim
	ForbiddenTrailer   // RFC 9110 6.5.1
	HeadTooLarge       // 10.5.1: answered with 431
	TooManyFields      // 10.5.1: answered with 431
	UnknownExpectation // RFC 9110 10.1.1: answered with 417

	reasonEnd
)

// rule is what a reason means.
type rule struct {
	name   string
	code   Code
	conn   bool   // ends the connection, else the stream
	status uint16 // answers a request instead of a reset; 0: none
}

var rules = [reasonEnd]rule{
	NoReason: {name: "none"},

	BadPreface:             {name: "bad_preface", code: ProtocolError, conn: true},
	MissingSettings:        {name: "missing_settings", code: ProtocolError, conn: true},
	FrameTooLarge:          {name: "frame_too_large", code: FrameSizeError, conn: true},
	BadFrameLength:         {name: "bad_frame_length", code: FrameSizeError, conn: true},
	BadPadding:             {name: "bad_padding", code: ProtocolError, conn: true},
	BadFrameStream:         {name: "bad_frame_stream", code: ProtocolError, conn: true},
	BadStreamID:            {name: "bad_stream_id", code: ProtocolError, conn: true},
	FrameOnIdleStream:      {name: "frame_on_idle_stream", code: ProtocolError, conn: true},
	FrameOnClosedStream:    {name: "frame_on_closed_stream", code: StreamClosed, conn: true},
	ExpectedContinuation:   {name: "expected_continuation", code: ProtocolError, conn: true},
	UnexpectedContinuation: {name: "unexpected_continuation", code: ProtocolError, conn: true},
	UnexpectedPushPromise:  {name: "unexpected_push_promise", code: ProtocolError, conn: true},
	BadCompression:         {name: "bad_compression", code: CompressionError, conn: true},
	BadSetting:             {name: "bad_setting", code: ProtocolError, conn: true},
	BadWindowSetting:       {name: "bad_window_setting", code: FlowControlError, conn: true},
	BadGoAway:              {name: "bad_goaway", code: ProtocolError, conn: true},
	ConnWindowOverflow:     {name: "conn_window_overflow", code: FlowControlError, conn: true},
	ConnWindowExceeded:     {name: "conn_window_exceeded", code: FlowControlError, conn: true},
	ConnZeroIncrement:      {name: "conn_zero_increment", code: ProtocolError, conn: true},
	BlockTooLarge:          {name: "block_too_large", code: EnhanceYourCalm, conn: true},
	ContinuationFlood:      {name: "continuation_flood", code: EnhanceYourCalm, conn: true},
	ResetFlood:             {name: "reset_flood", code: EnhanceYourCalm, conn: true},
	ErrorFlood:             {name: "error_flood", code: EnhanceYourCalm, conn: true},
	RefusedFlood:           {name: "refused_flood", code: EnhanceYourCalm, conn: true},
	SettingsFlood:          {name: "settings_flood", code: EnhanceYourCalm, conn: true},
	PingFlood:              {name: "ping_flood", code: EnhanceYourCalm, conn: true},
	EmptyDataFlood:         {name: "empty_data_flood", code: EnhanceYourCalm, conn: true},
	WindowUpdateFlood:      {name: "window_update_flood", code: EnhanceYourCalm, conn: true},
	PriorityFlood:          {name: "priority_flood", code: EnhanceYourCalm, conn: true},
	UnknownFrameFlood:      {name: "unknown_frame_flood", code: EnhanceYourCalm, conn: true},
	StrayFrameFlood:        {name: "stray_frame_flood", code: EnhanceYourCalm, conn: true},
	HeadFlood:              {name: "head_flood", code: EnhanceYourCalm, conn: true},
	SlowHead:               {name: "slow_head", code: EnhanceYourCalm, conn: true},

	TooManyStreams:       {name: "too_many_streams", code: RefusedStream},
	HalfClosedFrame:      {name: "half_closed_frame", code: StreamClosed},
	ResetStreamFrame:     {name: "reset_stream_frame", code: StreamClosed},
	SelfDependency:       {name: "self_dependency", code: ProtocolError},
	BadPriorityLength:    {name: "bad_priority_length", code: FrameSizeError},
	StreamWindowOverflow: {name: "stream_window_overflow", code: FlowControlError},
	StreamWindowExceeded: {name: "stream_window_exceeded", code: FlowControlError},
	ZeroIncrement:        {name: "zero_increment", code: ProtocolError},
	DataBeforeHead:       {name: "data_before_head", code: ProtocolError},
	TrailersWithoutEnd:   {name: "trailers_without_end", code: ProtocolError},
	TunnelTrailers:       {name: "tunnel_trailers", code: ProtocolError},
	LengthMismatch:       {name: "length_mismatch", code: ProtocolError},
	SlowReader:           {name: "slow_reader", code: EnhanceYourCalm},
	SlowBody:             {name: "slow_body", code: EnhanceYourCalm},

	UpperCaseName:      {name: "upper_case_name", code: ProtocolError},
	BadFieldName:       {name: "bad_field_name", code: ProtocolError},
	BadFieldValue:      {name: "bad_field_value", code: ProtocolError},
	ConnectionField:    {name: "connection_field", code: ProtocolError},
	UnknownPseudo:      {name: "unknown_pseudo", code: ProtocolError},
	RepeatedPseudo:     {name: "repeated_pseudo", code: ProtocolError},
	LatePseudo:         {name: "late_pseudo", code: ProtocolError},
	MissingPseudo:      {name: "missing_pseudo", code: ProtocolError},
	BadMethod:          {name: "bad_method", code: ProtocolError},
	BadScheme:          {name: "bad_scheme", code: ProtocolError},
	BadPath:            {name: "bad_path", code: ProtocolError},
	BadAuthority:       {name: "bad_authority", code: ProtocolError},
	BadProtocol:        {name: "bad_protocol", code: ProtocolError},
	BadStatus:          {name: "bad_status", code: ProtocolError},
	MissingHost:        {name: "missing_host", code: ProtocolError},
	RepeatedHost:       {name: "repeated_host", code: ProtocolError},
	HostMismatch:       {name: "host_mismatch", code: ProtocolError},
	BadContentLength:   {name: "bad_content_length", code: ProtocolError},
	RepeatedLength:     {name: "repeated_content_length", code: ProtocolError},
	UnexpectedBody:     {name: "unexpected_body", code: ProtocolError},
	TooManyInterim:     {name: "too_many_interim", code: EnhanceYourCalm},
	ForbiddenTrailer:   {name: "forbidden_trailer", code: ProtocolError},
	HeadTooLarge:       {name: "head_too_large", code: EnhanceYourCalm, status: 431},
	TooManyFields:      {name: "too_many_fields", code: EnhanceYourCalm, status: 431},
	UnknownExpectation: {name: "unknown_expectation", code: ProtocolError, status: 417},
}

// String returns the reason in snake_case, for metrics and logs.
func (r Reason) String() string {
	if r >= reasonEnd {
		return "unknown"
	}
	return rules[r].name
}

// Code is the error code that tells the peer.
func (r Reason) Code() Code {
	if r >= reasonEnd {
		return InternalError
	}
	return rules[r].code
}

// OfConnection tells whether the connection ends by r, or only a stream.
func (r Reason) OfConnection() bool { return r < reasonEnd && rules[r].conn }

// Status is the status code that answers a request which was refused for r; 0
// where a reset answers it.
func (r Reason) Status() uint16 {
	if r >= reasonEnd {
		return 0
	}
	return rules[r].status
}

// Reasons lists every reason, for metrics.
func Reasons() []Reason {
	out := make([]Reason, 0, int(reasonEnd)-1)
	for r := NoReason + 1; r < reasonEnd; r++ {
		out = append(out, r)
	}
	return out
}
