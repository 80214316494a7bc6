package table

import (
	"encoding/binary"
	"math/bits"
	"strings"
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

// prefixHash hashes segment by segment, so that the hashes of all beginnings of
// a path cost one walk over it.
func prefixHash(prefix string) uint64 {
	body, slash := strings.CutSuffix(prefix, "/")
	path, h := []byte(body), uint64(prefixSeed)
	for at := 0; at < len(path); {
		at, h = nextSegment(path, at, h)
	}
	if slash {
		h = addSlash(h)
	}
	return h
}

const (
	prefixSeed = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	endSeed    = 0xe7037ed1a0b428db // one of wyhash's multipliers
)

// nextSegment hashes the segment that begins with the "/" at path[at], and
// returns where it ends. Eight bytes are looked at together; what matters is the
// walk's cost, since whoever can make hashes collide writes the configuration.
func nextSegment(path []byte, at int, h uint64) (end int, hash uint64) {
	at++
	start := at
	for len(path)-at >= 8 {
		word := binary.LittleEndian.Uint64(path[at:])
		n := indexSlash(word)
		if n < 8 {
			at += n
			return at, fold(fold(h^word&(1<<(8*n)-1), prefixSeed)^uint64(at-start), endSeed)
		}
		h = fold(h^word, prefixSeed)
		at += 8
	}
	word := uint64(0)
	for shift := 0; at < len(path) && path[at] != '/'; at++ {
		word |= uint64(path[at]) << shift
		shift += 8
	}
	return at, fold(fold(h^word, prefixSeed)^uint64(at-start), endSeed)
}

// indexSlash is the index of the first "/" among the bytes of a little-endian
// word; 8 if there is none. (x-1)&^x has a byte's high bit if it is zero; bytes
// above the first zero may be wrong, which does not matter.
func indexSlash(word uint64) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	x := word ^ '/'*ones
	return bits.TrailingZeros64((x-ones)&^x&highs) / 8
}

// fold is wyhash's step: the two halves of a product.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// addSlash tells "/api/" from "/api".
func addSlash(h uint64) uint64 { return h ^ 0xa0761d6478bd642f }

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
