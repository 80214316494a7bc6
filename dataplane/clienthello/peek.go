package clienthello

const (
	// MaxBytes bounds a ClientHello with its records. Large key shares make 2 KiB
	// of it; nobody sends ten times that.
	MaxBytes = 16 << 10

	// maxRecords bounds the records that it comes in. One is usual; a client that
	// cuts its hello in order to hide the name from others makes a few.
	maxRecords = 64

	recordHead      = 5
	recordHandshake = 22
	maxFragment     = 1 << 14 // RFC 8446 section 5.1

	messageHead = 4
	clientHello = 1
)

// Status says what Peek found.
type Status uint8

// The statuses.
const (
	NeedMore Status = iota // it may become a ClientHello
	Done                   // a whole one
	Failed                 // none: Result.Reason
)

// Hello is what a client asks for. Its slices point into the input, or into the
// scratch memory where the hello came in several records.
type Hello struct {
	// ServerName is the name of the extension server_name, as sent: letters, digits,
	// "-", "_" and dots, not ending in one. Empty: the client names none.
	ServerName []byte
	// protocols is the list of the extension application_layer_protocol_negotiation:
	// each a length and so many bytes, checked.
	protocols []byte
	// groups and shares are the lists of the extensions supported_groups and key_share, checked;
	// empty where they are malformed, since no name depends on them.
	groups, shares []byte
}

// Protocols calls yield for each protocol that the client offers by ALPN, in its
// order.
func (h *Hello) Protocols(yield func(protocol []byte) bool) {
	for rest := h.protocols; len(rest) > 0; {
		n := 1 + int(rest[0])
		if !yield(rest[1:n]) {
			return
		}
		rest = rest[n:]
	}
}

// Groups calls yield for each group with which the client can agree on keys (RFC 8446 section
// 4.2.7), in its order.
func (h *Hello) Groups(yield func(group uint16) bool) {
	for c := cursor(h.groups); ; {
		if group, ok := c.uint16(); !ok || !yield(uint16(group)) { //nolint:gosec // two bytes
			return
		}
	}
}

// KeyShares calls yield for each group of which the client has sent its part of a key (RFC 8446
// section 4.2.8), in its order.
func (h *Hello) KeyShares(yield func(group uint16) bool) {
	for c := cursor(h.shares); ; {
		group, ok := c.uint16()
		if _, is := c.vector16(); !ok || !is || !yield(uint16(group)) { //nolint:gosec // two bytes
			return
		}
	}
}

// Result is what Peek found.
type Result struct {
	Hello  Hello // of Done
	Status Status
	Reason Reason // of Failed
}

func failed(reason Reason) Result { return Result{Status: Failed, Reason: reason} }

// Peek looks for a ClientHello at the beginning of in, which it leaves as it is.
// scratch is used, and returned, when the hello comes in several records; it may
// be nil.
func Peek(in, scratch []byte) (Result, []byte) {
	w := walk(in)
	if w.reason != NoReason {
		return failed(w.reason), scratch
	}
	if !w.whole {
		return Result{}, scratch
	}
	if w.records == 1 {
		return parse(in[recordHead:][:w.size]), scratch
	}
	scratch = scratch[:0]
	for at := 0; len(scratch) < w.size; {
		size := fragmentSize(in[at:])
		fragment := in[at+recordHead : min(at+recordHead+size, len(in))]
		scratch = append(scratch, fragment[:min(len(fragment), w.size-len(scratch))]...)
		at += recordHead + size
	}
	return parse(scratch), scratch
}

// walked is what the heads of the records say.
type walked struct {
	whole   bool // the message is there
	records int  // that bring it
	size    int  // of the message, its head included
	reason  Reason
}

// walk looks how far the hello is there. It reads the heads of records, and the
// head of the message that they bring.
func walk(in []byte) (w walked) {
	var head [messageHead]byte
	have := 0 // bytes of the message
	for at := 0; ; {
		if at+recordHead > MaxBytes || w.records == maxRecords {
			w.reason = TooLarge
			return w
		}
		rest := in[at:]
		if w.reason = checkRecord(rest); w.reason != NoReason || len(rest) < recordHead {
			return w
		}
		w.records++
		size := fragmentSize(rest)
		fragment := rest[recordHead:min(recordHead+size, len(rest))]
		if have < messageHead {
			copy(head[have:], fragment)
		}
		have += len(fragment)
		if have > 0 && head[0] != clientHello {
			w.reason = NotClientHello
			return w
		}
		if have >= messageHead {
			w.size = messageHead + int(head[1])<<16 + int(head[2])<<8 + int(head[3])
			if w.size > MaxBytes-recordHead {
				w.reason = TooLarge
				return w
			}
			if w.whole = have >= w.size; w.whole {
				return w
			}
		}
		if len(fragment) < size {
			return w
		}
		at += recordHead + size
	}
}

// checkRecord judges as much of a record's head as is there.
func checkRecord(b []byte) Reason {
	switch {
	case len(b) > 0 && b[0] != recordHandshake:
		return NotTLS
	case len(b) > 1 && b[1] != 3: // 3.1 to 3.3, whatever version the hello asks for
		return NotTLS
	case len(b) < recordHead:
		return NoReason
	}
	if size := fragmentSize(b); size == 0 || size > maxFragment { // RFC 8446 section 5.1: no empty fragments
		return BadRecord
	}
	return NoReason
}

func fragmentSize(record []byte) int { return int(record[3])<<8 | int(record[4]) }
