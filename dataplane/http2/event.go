package http2

// Role says which side of a connection a Conn is.
type Role uint8

// The roles of a Conn.
const (
	Server Role = iota // reads requests
	Client             // reads responses
)

// Kind is the kind of an Event.
type Kind uint8

// The kinds of events. A message is Head, any number of Data, and End.
const (
	NeedMore Kind = iota // nothing can be said before more bytes come; N is 0
	Noted                // a frame that concerns nobody but the codec
	Head                 // Stream: a message's head; the Head that was passed in is filled
	Interim              // Stream: a 1xx response, as for Head; the response itself follows
	Data                 // Stream: in[Start:End] is a part of the body
	End                  // Stream: the message is complete; with Trailers the Head has them as Fields
	Reset                // Stream is over, by Code; with a Reason we reset it, else the peer did
	Refused              // Stream: a request that was not told, for Reason; see Event.Answer
	Writable             // Stream may send more; 0: any may
	Settings             // the peer's settings changed: any stream may send more, and Open may say otherwise
	GoAway               // the peer takes no stream above Stream, for Code; those that it will not serve get a Reset
	PingAck              // Ping came back
	Failed               // the connection is over, for Reason; out has the last frame

	kindEnd
)

var kindNames = [kindEnd]string{
	"need_more", "noted", "head", "interim", "data", "end", "reset", "refused", "writable", "settings", "goaway", "ping_ack", "failed",
}

// String returns the kind in snake_case.
func (k Kind) String() string {
	if k >= kindEnd {
		return "unknown"
	}
	return kindNames[k]
}

// Event is what Conn.Next found. The caller drops N bytes from the front of its
// buffer before it calls again, whatever the kind.
type Event struct {
	Kind       Kind
	Reason     Reason // of Failed, Refused, and of a Reset that is ours
	Trailers   bool   // of End
	Answer     bool   // of Refused: the stream waits for an answer of Reason.Status; else it was reset
	Code       Code   // of Reset and GoAway
	Unserved   bool   // of Reset: by GOAWAY
	Stream     uint32
	Tag        uint32 // what the caller attached to Stream
	N          int    // bytes consumed
	Start, End int    // of Data: a part of the bytes that were passed in
	Ping       uint64 // of PingAck
}

// Options bound what a peer may do, and say what we offer. Zero fields have the
// defaults.
type Options struct {
	Streams         int    // at a time; 0: DefaultStreams. Client: that we open
	StreamWindow    int    // bytes of a body that may come unasked; 0: DefaultStreamWindow
	ConnWindow      int    // the same for all streams together; 0: DefaultConnWindow. Client, or Shared: and Streams times StreamWindow
	HeadBytes       int    // of a head, as RFC 9113 section 6.5.2 counts; 0: DefaultHeadBytes
	Fields          int    // field lines of a head; 0: DefaultFields
	ExtendedConnect bool   // Server: take RFC 8441
	Shared          bool   // Server: the peer is a proxy, whose streams belong to many clients
	Secure          bool   // Client: requests say https, else http
	Spare           *Spare // shared with other Conns of the same goroutine; nil: nothing is
}

const (
	// DefaultStreams is what users of reverse proxies expect (Envoy's edge
	// advice, nginx rounds it up to 128); a browser opens no more.
	DefaultStreams = 100

	// DefaultStreamWindow is Envoy's advice for the edge, as is that of the
	// connection: a stream does 1.3 MB/s at a round trip of 50 ms.
	DefaultStreamWindow = 64 << 10

	// DefaultConnWindow bounds what a client makes its server hold. Where the client is a
	// proxy, as a Client is and the peer of a Shared connection, streams belong to different
	// people, and the windows of all are added: streams that nobody reads stop no other.
	DefaultConnWindow = 1 << 20

	// DefaultHeadBytes is that of package http1. RFC 9113 counts 32 bytes more
	// for each field.
	DefaultHeadBytes = 64 << 10

	// DefaultFields is that of package http1.
	DefaultFields = 100

	// MaxInterim bounds the interim responses to one request.
	MaxInterim = 32
)

func (o Options) withDefaults(role Role) Options {
	for _, f := range []struct {
		field    *int
		standard int
	}{
		{&o.Streams, DefaultStreams},
		{&o.StreamWindow, DefaultStreamWindow},
		{&o.HeadBytes, DefaultHeadBytes},
		{&o.Fields, DefaultFields},
	} {
		if *f.field <= 0 {
			*f.field = f.standard
		}
	}
	o.Streams = min(o.Streams, maxSlots)
	o.StreamWindow = min(o.StreamWindow, maxWindow)
	switch {
	case o.ConnWindow > 0:
	case role == Client || o.Shared:
		o.ConnWindow = o.Streams*o.StreamWindow + DefaultConnWindow
	default:
		o.ConnWindow = DefaultConnWindow
	}
	// Nothing can take back the window that a connection begins with.
	o.ConnWindow = min(max(o.ConnWindow, initialWindow), maxWindow)
	return o
}
