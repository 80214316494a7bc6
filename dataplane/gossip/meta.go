package gossip

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

const (
	// maxMeta is memberlist's bound on meta data.
	maxMeta = 512
	// maxLabels is what labels may take of it, so that some holdings fit in any
	// case.
	maxLabels = 320
	// maxString bounds a name: its length is one byte.
	maxString = 255

	metaVersion = 1
)

var errMeta = errors.New("gossip: meta data malformed")

// appendMeta encodes what a member says of itself: version, flags, boot (8
// bytes), list revision, labels, whether holdings were left out, holdings. Lists
// have their length before them, numbers are varints, strings have their length
// in one byte. Holdings are left out from where they pass limit.
func appendMeta(dst []byte, m *member.Member, limit int) []byte {
	start := len(dst)
	dst = append(dst, metaVersion, byte(m.Flags))
	dst = binary.BigEndian.AppendUint64(dst, m.Boot)
	dst = binary.AppendUvarint(dst, m.ListRevision)
	dst = appendLabels(dst, m.Labels)
	at := len(dst)
	dst = append(dst, 0, 0) // cut, number
	for i, h := range m.Holdings {
		before := len(dst)
		if len(h.VIP) > maxString || i == math.MaxUint8 {
			dst[at] = 1
			break
		}
		dst = append(append(dst, byte(len(h.VIP))), h.VIP...)
		dst = binary.AppendUvarint(dst, h.Term)
		dst = binary.AppendVarint(dst, h.SinceUnixMS)
		if len(dst)-start > limit {
			dst[at] = 1
			dst = dst[:before]
			break
		}
		dst[at+1]++
	}
	if m.HoldingsCut {
		dst[at] = 1
	}
	return dst
}

func appendLabels(dst []byte, labels []member.Label) []byte {
	dst = append(dst, byte(len(labels)))
	for _, l := range labels {
		dst = append(append(dst, byte(len(l.Name))), l.Name...)
		dst = append(append(dst, byte(len(l.Value))), l.Value...)
	}
	return dst
}

// labelsFit says whether labels can be encoded and how many bytes they take.
func labelsFit(labels []member.Label) (size int, ok bool) {
	size, ok = 1, len(labels) <= math.MaxUint8
	for _, l := range labels {
		size += 2 + len(l.Name) + len(l.Value)
		ok = ok && len(l.Name) <= maxString && len(l.Value) <= maxString
	}
	return size, ok && size <= maxLabels
}

// parseMeta fills in what b says of a member. What later builds write after what
// is known here is passed over.
func parseMeta(b []byte, m *member.Member) error {
	if len(b) > maxMeta {
		return errMeta
	}
	r := metaReader{b: b}
	if r.byte() != metaVersion {
		return errMeta
	}
	m.Flags = member.Flags(r.byte()).Known()
	m.Boot = r.uint64()
	m.ListRevision = r.uvarint()
	for range r.byte() {
		m.Labels = append(m.Labels, member.Label{Name: r.string(), Value: r.string()})
	}
	m.HoldingsCut = r.byte() != 0
	for range r.byte() {
		m.Holdings = append(m.Holdings, member.Holding{VIP: r.string(), Term: r.uvarint(), SinceUnixMS: r.varint()})
		if r.bad {
			break
		}
	}
	if r.bad {
		return errMeta
	}
	return nil
}

// metaReader takes meta data apart. Once bad, it gives zeros.
type metaReader struct {
	b   []byte
	bad bool
}

func (r *metaReader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *metaReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *metaReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *metaReader) string() string { return string(r.take(int(r.byte()))) }

func (r *metaReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *metaReader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

// skip passes over a varint of n bytes, as package binary counts them.
func (r *metaReader) skip(n int) {
	if n <= 0 {
		n = len(r.b) + 1
	}
	r.take(n)
}
