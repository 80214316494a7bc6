package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

const (
	// MaxMessage is how long an encoded Message may be: one datagram, with room
	// for what gossip puts around it.
	MaxMessage = 1200
	// MaxName bounds ids and names of virtual IPs, as resources do.
	MaxName = 253
	// MaxItems bounds a Message; each takes at least six bytes.
	MaxItems = 128
	// maxTerm leaves room for terms to come: whoever says more is not one of us.
	maxTerm = 1 << 62

	wireVersion = 1
)

// ErrMalformed is what Decode's errors are.
var ErrMalformed = errors.New("vip message malformed")

// Append encodes m after dst. It fails if m breaks a bound, which messages that
// Grants made never do.
//
// The form: version, kind, boot (8 bytes), seq, revision, sender, number of
// items; an item of a Request: name, term, op; of an Answer: name, term, verdict,
// last term, whether the other holds, other, milliseconds. Numbers are varints,
// strings have their length in one byte before them.
func (m *Message) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	if m.Kind != Request && m.Kind != Answer || len(m.Items) > MaxItems || !validName(m.From) {
		return nil, fmt.Errorf("%w: kind %d, %d items, sender of %d bytes", ErrMalformed, m.Kind, len(m.Items), len(m.From))
	}
	dst = append(dst, wireVersion, byte(m.Kind))
	dst = binary.BigEndian.AppendUint64(dst, m.Boot)
	dst = binary.AppendUvarint(dst, m.Seq)
	dst = binary.AppendUvarint(dst, m.Revision)
	dst = appendString(dst, m.From)
	dst = append(dst, byte(len(m.Items)))
	for i := range m.Items {
		it := &m.Items[i]
		if !it.valid(m.Kind) {
			return nil, fmt.Errorf("%w: item %d", ErrMalformed, i)
		}
		dst = it.append(dst, m.Kind)
	}
	if len(dst)-start > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(dst)-start)
	}
	return dst, nil
}

func (it *Item) append(dst []byte, k Kind) []byte {
	dst = appendString(dst, it.VIP)
	dst = binary.AppendUvarint(dst, it.Term)
	if k == Request {
		return append(dst, byte(it.Op))
	}
	dst = append(dst, byte(it.Verdict))
	dst = binary.AppendUvarint(dst, it.LastTerm)
	holds := byte(0)
	if it.OtherHolds {
		holds = 1
	}
	dst = append(dst, holds)
	dst = appendString(dst, it.Other)
	return binary.AppendUvarint(dst, uint64(it.LeftMS))
}

// valid says whether it keeps the bounds and has nothing that its kind has not.
func (it *Item) valid(k Kind) bool {
	if !validName(it.VIP) || it.Term > maxTerm || it.LastTerm > maxTerm || len(it.Other) > MaxName {
		return false
	}
	if k == Request {
		return it.Op >= Ask && it.Op <= lastOp &&
			it.Verdict == 0 && it.LastTerm == 0 && it.Other == "" && !it.OtherHolds && it.LeftMS == 0
	}
	return it.Verdict >= Granted && it.Verdict <= lastVerdict && it.Op == 0
}

// size is how many bytes it takes in a message of that kind.
func (it *Item) size(k Kind) int {
	n := 1 + len(it.VIP) + uvarintSize(it.Term) + 1
	if k == Answer {
		n += uvarintSize(it.LastTerm) + 1 + 1 + len(it.Other) + uvarintSize(uint64(it.LeftMS))
	}
	return n
}

// headSize is how many bytes stand before the items.
func (m *Message) headSize() int {
	return 2 + 8 + uvarintSize(m.Seq) + uvarintSize(m.Revision) + 1 + len(m.From) + 1
}

func uvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func validName(s string) bool { return s != "" && len(s) <= MaxName }

func appendString(dst []byte, s string) []byte {
	return append(append(dst, byte(len(s))), s...)
}

// Decode reads one Message, which must be all of b. The Message keeps nothing of
// b. Whatever it accepts, Append gives back byte for byte. The strings of the Message are
// parts of one: whoever keeps one of them keeps all, unless it is cloned. A member reads
// thousands of messages a second, of dozens of names each.
func Decode(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	r := reader{s: string(b)}
	if v := r.byte(); v != wireVersion {
		return Message{}, fmt.Errorf("%w: version %d, expected %d", ErrMalformed, v, wireVersion)
	}
	m := Message{Kind: Kind(r.byte()), Boot: r.uint64(), Seq: r.uvarint(), Revision: r.uvarint(), From: r.string()}
	n := int(r.byte())
	if r.bad || m.Kind != Request && m.Kind != Answer || n > MaxItems || !validName(m.From) {
		return Message{}, fmt.Errorf("%w: head", ErrMalformed)
	}
	if n > 0 {
		// Six bytes at least are an item: a short message costs little memory.
		m.Items = make([]Item, 0, min(n, len(r.s)/6+1))
	}
	for i := range n {
		it := r.item(m.Kind)
		if r.bad || !it.valid(m.Kind) {
			return Message{}, fmt.Errorf("%w: item %d", ErrMalformed, i)
		}
		m.Items = append(m.Items, it)
	}
	if len(r.s) != 0 {
		return Message{}, fmt.Errorf("%w: %d bytes after the end", ErrMalformed, len(r.s))
	}
	return m, nil
}

// reader takes a message apart. Once bad, it gives zeros.
type reader struct {
	s   string
	bad bool
}

func (r *reader) take(n int) string {
	if r.bad || len(r.s) < n {
		r.bad, r.s = true, ""
		return ""
	}
	s := r.s[:n]
	r.s = r.s[n:]
	return s
}

func (r *reader) byte() byte {
	if s := r.take(1); s != "" {
		return s[0]
	}
	return 0
}

func (r *reader) uint64() (v uint64) {
	s := r.take(8)
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v
}

// uvarint takes the shortest form only.
func (r *reader) uvarint() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := r.byte()
		if b == 0 && shift > 0 || b > 1 && shift == 63 {
			break
		}
		if v |= uint64(b&0x7f) << shift; b < 0x80 {
			return v
		}
	}
	r.take(len(r.s) + 1)
	return 0
}

func (r *reader) string() string { return r.take(int(r.byte())) }

func (r *reader) item(k Kind) Item {
	it := Item{VIP: r.string(), Term: r.uvarint()}
	if k == Request {
		it.Op = Op(r.byte())
		return it
	}
	it.Verdict, it.LastTerm = Verdict(r.byte()), r.uvarint()
	holds := r.byte()
	it.OtherHolds = holds == 1
	it.Other = r.string()
	left := r.uvarint()
	it.LeftMS = uint16(left) //nolint:gosec // checked below
	if holds > 1 || left > 0xffff {
		r.bad = true
	}
	return it
}
