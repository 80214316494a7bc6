package table

import (
	"bytes"
	"math/bits"
	"strings"

	"github.com/zeebo/xxh3"
)

// MaxPrefixSegments bounds the segments of a prefix: a path is looked up at each
// depth at which prefixes exist, and the set of depths is one word.
const MaxPrefixSegments = 31

// A prefix has a depth, 2 × segments, and one more if it ends in "/": "/" is 1,
// "/api" 2, "/api/" 3. Where two prefixes fit one path, the one of greater depth
// is the longer one.

// prefixDepth is the depth of a prefix in normal form.
func prefixDepth(prefix string) int {
	body, slash := strings.CutSuffix(prefix, "/")
	return 2*strings.Count(body, "/") + btoi(slash)
}

// PrefixSegments counts the segments of a prefix, to be held against
// MaxPrefixSegments.
func PrefixSegments(prefix string) int { return prefixDepth(prefix) / 2 }

const prefixSeed = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio

// prefixHash hashes segment by segment, so that the hashes of all beginnings of
// a path cost one walk over it.
func prefixHash(prefix string) uint64 {
	body, slash := strings.CutSuffix(prefix, "/")
	h := uint64(prefixSeed)
	for body != "" {
		segment := body[1:]
		if end := strings.IndexByte(segment, '/'); end >= 0 {
			segment = segment[:end]
		}
		h = addSegment(h, xxh3.HashString(segment))
		body = body[1+len(segment):]
	}
	if slash {
		h = addSlash(h)
	}
	return h
}

// addSegment is one step of wyhash's mixing: multiply, fold.
func addSegment(h, segment uint64) uint64 {
	hi, lo := bits.Mul64(h^segment, prefixSeed)
	return hi ^ lo
}

// addSlash tells "/api/" from "/api".
func addSlash(h uint64) uint64 { return h ^ 0xa0761d6478bd642f }

// borders are the beginnings of a path up to its segment borders, as deep as
// asked.
type borders struct {
	n      int // how many; border i, from 1, is the end of the i-th segment
	hashes [MaxPrefixSegments + 1]uint64
	ends   [MaxPrefixSegments + 1]uint32
}

// find fills b for a path, with at most depth segments.
func (b *borders) find(path []byte, segments int) {
	b.n = 0
	b.hashes[0] = prefixSeed
	b.ends[0] = 0
	at := 0
	for b.n < segments && at < len(path) {
		segment := path[at+1:]
		if end := bytes.IndexByte(segment, '/'); end >= 0 {
			segment = segment[:end]
		}
		at += 1 + len(segment)
		b.n++
		b.hashes[b.n] = addSegment(b.hashes[b.n-1], xxh3.Hash(segment))
		b.ends[b.n] = uint32(at)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
