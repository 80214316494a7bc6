package message

import "bytes"

// Span is a half-open range of an arena.
type Span struct{ Start, End uint32 }

// Len is the number of bytes in s.
func (s Span) Len() int { return int(s.End - s.Start) }

// Framing says how the end of a body is found (RFC 9112 section 6.3).
type Framing uint8

// The framings of a body.
const (
	FramingNone       Framing = iota // no body
	FramingLength                    // Head.Length bytes
	FramingChunked                   // chunked transfer coding
	FramingUntilClose                // a response that ends with its connection
)

// TargetForm is the form of a request target (RFC 9112 section 3.2).
type TargetForm uint8

// The forms of a request target.
const (
	FormOrigin    TargetForm = iota // "/where?q=now"
	FormAbsolute                    // "http://www.example.org/where"; Path may be empty
	FormAuthority                   // "www.example.org:443", of CONNECT only
	FormAsterisk                    // "*", of OPTIONS only; an absolute one without path and query means it too
)

// Field is one field line. ID is 0 for a name without one.
type Field struct {
	Name, Value Span
	ID          FieldID
	Sensitive   bool // the sender forbids every hop to keep it in a table (RFC 7541 section 7.1.3)
}

// Head is the head of a request or of a response. The zero value is ready;
// Reset makes it ready again and keeps the capacity of Fields.
type Head struct {
	// Arena holds the bytes that every span of the head points into. It is
	// borrowed from the codec's caller.
	Arena []byte

	// Of a request.
	Method     Method
	MethodName Span // as received; methods are case-sensitive
	Target     Span // as received
	Authority  Span // Host, or the authority of an absolute target; port included
	Path       Span // of the target, as received, without the query; empty for CONNECT and "*"
	Query      Span // without the "?"
	HasQuery   bool // tells "/?" from "/"
	Form       TargetForm
	Protocol   Span // of an extended CONNECT (RFC 8441), else empty

	// Of a response.
	Status uint16
	Reason Span

	// Of both.
	HTTP2     bool    // came by HTTP/2; Minor is 1, since its sender understands all that 1.1 has
	Ended     bool    // HTTP/2: nothing follows the head, not even trailers
	Minor     uint8   // minor version of HTTP/1.x
	Framing   Framing // how the body ends, decided by the codec in one place
	Length    int64   // the declared Content-Length, with Declared == FramingLength
	Declared  Framing // what the fields say: differs from Framing where no body may follow (HEAD, 304)
	KeepAlive bool    // the sender will take another message after this one
	IdleFor   uint16  // of a response: after so many seconds without one the sender ends the connection; 0: it does not say
	Expect100 bool    // the client waits for 100 (Continue) before its body
	Upgrade   bool    // an Upgrade field named by Connection is present
	Named     bool    // Connection names fields of the message: ask NamedByConnection before forwarding one
	Fields    []Field
}

// Reset empties h and keeps the memory of Fields.
func (h *Head) Reset() {
	fields := h.Fields[:0]
	*h = Head{Fields: fields}
}

// Bytes returns the bytes of s, which die with the arena.
func (h *Head) Bytes(s Span) []byte { return h.Arena[s.Start:s.End] }

// Value returns the value of the first field line with the given id.
func (h *Head) Value(id FieldID) (value []byte, ok bool) {
	for i := range h.Fields {
		if h.Fields[i].ID == id {
			return h.Bytes(h.Fields[i].Value), true
		}
	}
	return nil, false
}

// TakesTrailers tells whether a request says that trailers are not thrown away on its way (RFC 9110
// section 10.1.4): "trailers" is an element of TE, which has no weight.
func (h *Head) TakesTrailers() bool {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == FieldTE && listHas(h.Bytes(f.Value), trailers) {
			return true
		}
	}
	return false
}

var trailers = []byte("trailers")

// NamedByConnection tells whether a field of this name belongs to the
// connection because Connection says so, and must not be forwarded (RFC 9110
// section 7.6.1). A peer cannot use that to remove the fields that say who
// asks for what: Host, Content-Length, Cookie, Authorization, Forwarded and
// X-Forwarded-* are never reported.
func (h *Head) NamedByConnection(name []byte) bool {
	if !h.Named || neverOfConnection(name) {
		return false
	}
	for i := range h.Fields {
		if h.Fields[i].ID == FieldConnection && listHas(h.Bytes(h.Fields[i].Value), name) {
			return true
		}
	}
	return false
}

// AppendConnection appends the options of all Connection fields, as one list.
func (h *Head) AppendConnection(dst []byte) []byte {
	for i := range h.Fields {
		if h.Fields[i].ID == FieldConnection {
			dst = append(append(dst, h.Bytes(h.Fields[i].Value)...), ',')
		}
	}
	return dst
}

// NamedBy is NamedByConnection for the options of a head that is gone.
func NamedBy(options, name []byte) bool { return !neverOfConnection(name) && listHas(options, name) }

func neverOfConnection(name []byte) bool {
	switch LookupField(name) {
	case FieldHost, FieldContentLength, FieldCookie, FieldAuthorization, FieldForwarded:
		return true
	}
	return Forwarded(name)
}

// listHas tells whether a comma-separated list has an element that equals
// name, whatever its case.
func listHas(list, name []byte) bool {
	for len(list) > 0 {
		var element []byte
		element, list = NextElement(list)
		if EqualFoldBytes(element, name) {
			return true
		}
	}
	return false
}

// NextElement cuts the first element off a comma-separated list (RFC 9110
// section 5.6.1) and trims spaces and tabs around it. Elements may be empty.
func NextElement(list []byte) (element, rest []byte) {
	element = list
	if i := bytes.IndexByte(list, ','); i >= 0 {
		element, rest = list[:i], list[i+1:]
	}
	return trimBlanks(element), rest
}

// LastElement is NextElement from the list's end.
func LastElement(list []byte) (element, rest []byte) {
	element = list
	if i := bytes.LastIndexByte(list, ','); i >= 0 {
		element, rest = list[i+1:], list[:i]
	}
	return trimBlanks(element), rest
}

// trimBlanks cuts spaces and tabs off both ends.
func trimBlanks(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for n := len(b); n > 0 && (b[n-1] == ' ' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	return b
}

// Out is a head that is about to be encoded. Its slices are borrowed until the
// codec's Append function returns. Framing fields (Content-Length,
// Transfer-Encoding, Connection) are not among Fields: the codec writes them
// from Framing, Length and Close.
type Out struct {
	// Of a request.
	Method    []byte
	Target    []byte
	Authority []byte
	Protocol  []byte // of an extended CONNECT (RFC 8441): HTTP/2 only

	// Of a response.
	Status uint16

	// Of both.
	Framing Framing
	Length  int64
	Close   bool
	Upgrade bool  // write "Connection: upgrade"; the Upgrade field itself is among Fields
	Minor   uint8 // of the peer: a chunked body goes to HTTP/1.1 peers only
	Fields  []OutField
}

// OutField is one field line of an Out.
type OutField struct {
	Name, Value []byte
	Sensitive   bool // as in Field: HTTP/2 passes it on
}

// Reset empties o and keeps the memory of Fields.
func (o *Out) Reset() {
	fields := o.Fields[:0]
	*o = Out{Fields: fields}
}

// Pass appends a field line of another head as it is.
func (o *Out) Pass(h *Head, f *Field) {
	o.Fields = append(o.Fields, OutField{Name: h.Bytes(f.Name), Value: h.Bytes(f.Value), Sensitive: f.Sensitive})
}

// Add appends a field line.
func (o *Out) Add(name, value []byte) {
	o.Fields = append(o.Fields, OutField{Name: name, Value: value})
}
