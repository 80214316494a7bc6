package http1

// Role says which messages a Reader reads.
type Role uint8

// The roles of a Reader.
const (
	Server Role = iota // reads requests
	Client             // reads responses
)

// Kind is the kind of an Event.
type Kind uint8

// The kinds of events. A message is Head, any number of Data, and End.
const (
	NeedMore Kind = iota // nothing can be said before more bytes come; N is 0
	Head                 // a message's head; the Head that was passed in is filled
	Interim              // a 1xx response other than 101, as for Head; the response itself follows
	Data                 // in[Start:End] is a part of the body
	End                  // the message is complete; in[Start:End] holds its checked trailer lines, if any
	Closed               // no message will come: the peer closed between messages, or said it would
	Failed               // Reason says why; nothing more will come

	kindEnd
)

var kindNames = [kindEnd]string{"need_more", "head", "interim", "data", "end", "closed", "failed"}

// String returns the kind in snake_case.
func (k Kind) String() string {
	if k >= kindEnd {
		return "unknown"
	}
	return kindNames[k]
}

// Event is what Reader.Next found. The caller drops N bytes from the front of
// its buffer before it calls again, whatever the kind.
type Event struct {
	Kind       Kind
	Reason     Reason // of Failed
	N          int    // bytes consumed, framing included
	Start, End int    // of Data and End: a part of the bytes that were passed in
}

// Limits bound a message head.
type Limits struct {
	HeadBytes int // from the first byte of the start line to the empty line; 0: DefaultHeadBytes
	Fields    int // field lines; 0: DefaultFields
}

const (
	// DefaultHeadBytes is the default of Limits.HeadBytes: room for the largest
	// cookies and tokens that browsers and gateways send, twice over.
	DefaultHeadBytes = 64 << 10

	// DefaultFields is the default of Limits.Fields, as in Apache and HAProxy.
	DefaultFields = 100

	// MaxOptions bounds what the Connection fields of a head list, nothing between two commas
	// included. Each field is held against all of it before it is forwarded: with a head full
	// of commas one request cost what thousands do.
	MaxOptions = 100

	// MaxRequestLine bounds the request line within the head. RFC 9112 section 3
	// asks for at least 8,000 bytes; nginx stops at 8 KiB, HAProxy at 16 KiB.
	MaxRequestLine = 16 << 10

	// MaxTrailerBytes bounds a trailer section, which has few uses beyond a
	// checksum and a status. Limits.HeadBytes bounds it too if it is lower.
	MaxTrailerBytes = 8 << 10

	// MaxTrailerFields bounds its field lines, as Limits.Fields does.
	MaxTrailerFields = 32

	// MaxChunkExtension bounds the extensions of one chunk.
	MaxChunkExtension = 256

	// MaxChunkExtensions bounds those of a body: nobody uses extensions but
	// attackers, to make a body expensive (CVE-2023-39326).
	MaxChunkExtensions = 16 << 10

	// MaxInterim bounds the interim responses to one request.
	MaxInterim = 32

	// maxChunkDigits is enough for 64 bits. Leading zeros count.
	maxChunkDigits = 16
)
