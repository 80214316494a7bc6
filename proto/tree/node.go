package tree

import (
	"crypto/sha256"
	"math/bits"
	"slices"
	"sync/atomic"
)

const (
	bitsPerLevel = 5
	fanout       = 1 << bitsPerLevel
	// maxLevels bounds the depth: 51 levels of five bits and one of the last bit.
	maxLevels = (8*HashSize + bitsPerLevel - 1) / bitsPerLevel
)

// path is where a key stands in the trie.
type path [HashSize]byte

func pathOf(k Key) path {
	// Names are short: the common key is hashed without an allocation.
	var buf [256]byte
	b := append(buf[:0], k.Kind...)
	b = append(b, 0)
	b = append(b, k.Name...)
	return sha256.Sum256(b)
}

// slot is the child of the branch at this level (0 is the top) that leads on.
func (p *path) slot(level int) uint {
	bit := level * bitsPerLevel
	i := bit / 8
	window := uint(p[i]) << 8
	if i+1 < len(p) {
		window |= uint(p[i+1])
	}
	return window >> (16 - bitsPerLevel - uint(bit%8)) & (fanout - 1)
}

// node is a child of a branch, or the top of a tree: nothing, a leaf or a
// branch.
type node struct {
	leaf   *Leaf
	branch *branch
}

// branch has two leaves or more below it.
type branch struct {
	// Immutable once it is in a tree.
	used uint32 // bit n: slot n has a child
	size int    // leaves below
	kids []node // one for each used slot, in their order

	// The hash is computed once, by whoever asks first.
	sum   Hash
	state atomic.Uint32 // of sum: sumUnknown, sumWriting, sumKnown
}

const (
	sumUnknown = iota
	sumWriting
	sumKnown
)

// child is what stands in the slot, and its index in kids if there is one.
func (b *branch) child(slot uint) (node, int) {
	i := bits.OnesCount32(b.used & (1<<slot - 1))
	if b.used>>slot&1 == 0 {
		return node{}, i
	}
	return b.kids[i], i
}

// hash is safe for concurrent use: those who come while another writes the sum
// compute it for themselves.
func (b *branch) hash() Hash {
	if b.state.Load() == sumKnown {
		return b.sum
	}
	var below [fanout]Hash
	b.hashesBelow(&below)
	var buf [fanout * 64]byte // most branches fit
	h := Sum(appendBranch(buf[:0], b, &below))
	if b.state.CompareAndSwap(sumUnknown, sumWriting) {
		b.sum = h
		b.state.Store(sumKnown)
	}
	return h
}

// hashesBelow fills in the hash of each kid that is a branch, at its index.
func (b *branch) hashesBelow(below *[fanout]Hash) {
	for i, kid := range b.kids {
		if kid.branch != nil {
			below[i] = kid.branch.hash()
		}
	}
}

func (b *branch) encode() []byte {
	var below [fanout]Hash
	b.hashesBelow(&below)
	return appendBranch(nil, b, &below)
}

func (n node) empty() bool { return n.leaf == nil && n.branch == nil }

func (n node) leaves() int {
	switch {
	case n.branch != nil:
		return n.branch.size
	case n.leaf != nil:
		return 1
	}
	return 0
}

func (n node) rootHash() Hash {
	switch {
	case n.branch != nil:
		return n.branch.hash()
	case n.leaf != nil:
		return Sum(encodeOnlyLeaf(nil, n.leaf))
	}
	return EmptyRoot()
}

// walk visits the leaves in the order of their paths, and reports whether visit
// wanted all of them.
func (n node) walk(visit func(*Leaf) bool) bool {
	if n.leaf != nil {
		return visit(n.leaf)
	}
	if n.branch == nil {
		return true
	}
	for _, kid := range n.branch.kids {
		if !kid.walk(visit) {
			return false
		}
	}
	return true
}

// set gives n with the leaf in it. It gives n itself if nothing changes.
func (n node) set(l *Leaf, p *path, level int) node {
	switch {
	case n.branch != nil:
		kid, i := n.branch.child(p.slot(level))
		next := kid.set(l, p, level+1)
		if next == kid {
			return n
		}
		return node{branch: n.branch.with(p.slot(level), i, kid, next)}
	case n.leaf == nil:
		return node{leaf: l}
	case n.leaf.Key == l.Key && n.leaf.Hash == l.Hash:
		return n
	case n.leaf.Key == l.Key:
		return node{leaf: l}
	}
	other := pathOf(n.leaf.Key)
	if other == *p {
		return node{leaf: l}
	}
	return split(n.leaf, &other, l, p, level)
}

// split makes the branches that tell two leaves with different paths apart.
func split(a *Leaf, pa *path, b *Leaf, pb *path, level int) node {
	sa, sb := pa.slot(level), pb.slot(level)
	if sa == sb {
		below := split(a, pa, b, pb, level+1)
		return node{branch: &branch{used: 1 << sa, size: 2, kids: []node{below}}}
	}
	if sa > sb {
		a, b, sa, sb = b, a, sb, sa
	}
	return node{branch: &branch{used: 1<<sa | 1<<sb, size: 2, kids: []node{{leaf: a}, {leaf: b}}}}
}

// with gives a copy of the branch in which the child at the slot, which is or
// would be kids[i], is the next one instead of the old one (either may be
// empty).
func (b *branch) with(slot uint, i int, old, next node) *branch {
	c := &branch{used: b.used, size: b.size - old.leaves() + next.leaves()}
	switch {
	case old.empty():
		c.used |= 1 << slot
		c.kids = make([]node, len(b.kids)+1)
		copy(c.kids, b.kids[:i])
		c.kids[i] = next
		copy(c.kids[i+1:], b.kids[i:])
	case next.empty():
		c.used &^= 1 << slot
		c.kids = make([]node, len(b.kids)-1)
		copy(c.kids, b.kids[:i])
		copy(c.kids[i:], b.kids[i+1:])
	default:
		c.kids = slices.Clone(b.kids)
		c.kids[i] = next
	}
	return c
}

// remove gives n without the leaf at the path, and whether there was one.
func (n node) remove(p *path, level int) (node, bool) {
	if n.branch == nil {
		if n.leaf == nil || pathOf(n.leaf.Key) != *p {
			return n, false
		}
		return node{}, true
	}
	kid, i := n.branch.child(p.slot(level))
	next, found := kid.remove(p, level+1)
	if !found {
		return n, false
	}
	b := n.branch.with(p.slot(level), i, kid, next)
	if b.size == 1 { // then its only child is that leaf: it moves up
		return b.kids[0], true
	}
	return node{branch: b}, true
}
