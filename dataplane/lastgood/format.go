package lastgood

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// aboutResource and the hash of a resource are what its sealed bytes are about.
const aboutResource = "proxyfleet last good resource\x00"

// The first byte of each resource.
const (
	plainResource  = 0 // its length and its canonical bytes follow
	sealedResource = 1 // its hash, the length of the sealed bytes, and these
)

// Permit is one of the few rights to compute beside the loops. Acquire may wait.
type Permit interface {
	Acquire()
	Release()
}

const (
	// holdFor is for how long the permit is held before others may have it.
	holdFor = time.Millisecond
	// breathEvery is how many resources come between two looks at the time: a few
	// microseconds each.
	breathEvery = 32
	// sumPiece is what the checksum takes at a time: a millisecond's work at most.
	sumPiece = 256 << 10
)

// paced does work that calls breathe now and then, holding the permit meanwhile.
func (f *File) paced(work func(breathe func())) {
	if f.permit == nil {
		work(func() {})
		return
	}
	f.permit.Acquire()
	defer f.permit.Release()
	since := time.Now()
	work(func() {
		if time.Since(since) < holdFor {
			return
		}
		f.permit.Release()
		f.permit.Acquire()
		since = time.Now()
	})
}

// encode is magic, version, checksum of the rest, epoch, revision, root, and each
// resource.
func (f *File) encode(s *table.Configuration) (text []byte) {
	f.paced(func(breathe func()) { text = f.encodePaced(s, breathe) })
	return text
}

func (f *File) encodePaced(s *table.Configuration, breathe func()) []byte {
	var b bytes.Buffer
	b.WriteString(magic)
	b.WriteByte(version)
	b.Write(make([]byte, sha256.Size))
	var number [8]byte
	put := func(v uint64) {
		binary.BigEndian.PutUint64(number[:], v)
		b.Write(number[:])
	}
	put(s.Version.Epoch)
	put(s.Version.Revision)
	root := s.Tree.Root()
	b.Write(root[:])
	put(uint64(s.Tree.Len()))
	n := 0
	for leaf := range s.Tree.All() {
		if n++; n%breathEvery == 0 {
			breathe()
		}
		data := leaf.Bytes
		if resource.Secret(leaf.Key.Kind) {
			b.WriteByte(sealedResource)
			b.Write(leaf.Hash[:])
			data = f.key.Seal(leaf.Bytes, about(leaf.Hash))
		} else {
			b.WriteByte(plainResource)
		}
		put(uint64(len(data)))
		b.Write(data)
	}
	out, sum := b.Bytes(), sha256.New()
	for piece := range slices.Chunk(out[headSize:], sumPiece) {
		sum.Write(piece)
		breathe()
	}
	sum.Sum(out[headSize-sha256.Size : headSize-sha256.Size])
	return out
}

// headSize is that of magic, version and checksum.
const headSize = len(magic) + 1 + sha256.Size

func about(h tree.Hash) []byte { return append([]byte(aboutResource), h[:]...) }

var errDamaged = errors.New("the file is damaged")

// decode is the inverse of encode. It also reads version 1, whose resources have
// no first byte.
func (f *File) decode(text []byte) (table.Configuration, error) {
	if len(text) < headSize || string(text[:len(magic)]) != magic || text[len(magic)] < 1 || text[len(magic)] > version {
		return table.Configuration{}, fmt.Errorf("%w: it does not begin as one of this version", errDamaged)
	}
	r := reader{rest: text[headSize:], tagged: text[len(magic)] > 1}
	if sum := sha256.Sum256(r.rest); !bytes.Equal(sum[:], text[len(magic)+1:headSize]) {
		return table.Configuration{}, fmt.Errorf("%w: the checksum does not hold", errDamaged)
	}
	var s table.Configuration
	s.Version = table.Version{Epoch: r.number(), Revision: r.number()}
	root := r.hash()
	for range r.number() {
		canonical, err := f.resource(&r)
		if err != nil {
			return table.Configuration{}, err
		}
		parsed, err := resource.Parse(canonical)
		if err != nil {
			return table.Configuration{}, err
		}
		s.Tree = s.Tree.Set(resource.KeyOf(parsed), canonical)
	}
	if r.short || len(r.rest) > 0 || s.Tree.Root() != root {
		return table.Configuration{}, fmt.Errorf("%w: the resources do not have the root that it names", errDamaged)
	}
	return s, nil
}

// resource reads the canonical bytes of the next resource.
func (f *File) resource(r *reader) ([]byte, error) {
	tag := byte(plainResource)
	if r.tagged {
		if b := r.take(1); b != nil {
			tag = b[0]
		}
	}
	var hash tree.Hash
	if tag == sealedResource {
		hash = r.hash()
	}
	data := r.take(r.number())
	switch {
	case r.short || tag > sealedResource:
		return nil, errDamaged
	case tag == plainResource:
		return data, nil
	}
	plain, err := f.key.Open(data, about(hash))
	if err != nil {
		return nil, fmt.Errorf("a secret in it: %w", err)
	}
	return plain, nil
}

// reader takes a file apart. What is not there any more is zero, and short.
type reader struct {
	rest   []byte
	tagged bool
	short  bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.rest, r.short = nil, true
		return nil
	}
	data := r.rest[:n:n]
	r.rest = r.rest[n:]
	return data
}

func (r *reader) number() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) hash() (h tree.Hash) {
	copy(h[:], r.take(uint64(len(h))))
	return h
}
