package tree

import (
	"errors"
	"fmt"
	"math/bits"
)

// ErrMismatch is the kind of error of bytes that are not those of their hash.
var ErrMismatch = errors.New("bytes do not have their hash")

// Load reads the tree of a root, as Nodes gave it. blob's errors are passed on;
// what it gives belongs to the tree from then on.
func Load(root Hash, blob func(Hash) ([]byte, error)) (Tree, error) {
	return LoadFrom(Tree{}, root, func(hashes []Hash) ([][]byte, error) {
		blobs := make([][]byte, len(hashes))
		for i, h := range hashes {
			b, err := blob(h)
			if err != nil {
				return nil, err
			}
			blobs[i] = b
		}
		return blobs, nil
	})
}

// LoadFrom is Load for a caller that has a similar tree: what base has at the same place
// is taken from it and not fetched. fetch gives the bytes of all the hashes, in
// their order; it is called once for each level of branches that base lacks and
// once for all the resources that it lacks.
func LoadFrom(base Tree, root Hash, fetch func([]Hash) ([][]byte, error)) (Tree, error) {
	switch root {
	case EmptyRoot():
		return Tree{}, nil
	case base.Root():
		return base, nil
	}
	l := loader{fetch: fetch, kinds: make(map[string]string)}
	var top node
	frontier := []place{{hash: root, at: &top, base: base.top}}
	for level := 0; len(frontier) > 0; level++ {
		var err error
		if frontier, err = l.level(frontier, level); err != nil {
			return Tree{}, err
		}
	}
	if err := l.resources(); err != nil {
		return Tree{}, err
	}
	l.count()
	return Tree{top: top}, nil
}

// loader builds a tree from the top down. Its branches are nobody else's until
// it is done.
type loader struct {
	fetch    func([]Hash) ([][]byte, error)
	branches []*branch // parents before children
	bare     []*Leaf   // still without bytes
	kinds    map[string]string
}

// place is where a branch that must be fetched belongs.
type place struct {
	hash Hash
	at   *node
	path path // its first bits, down to the place's level, count
	base node // what stands there in the tree that is known already
}

// level fetches one level of branches and returns what is missing in the next.
func (l *loader) level(frontier []place, level int) ([]place, error) {
	if level >= maxLevels {
		return nil, fmt.Errorf("%w: more than %d levels of branches", ErrMalformed, maxLevels)
	}
	hashes := make([]Hash, len(frontier))
	// Two places of one level have different leaves below them. Without this
	// check a few nodes that name each other often would be a tree without end.
	seen := make(map[Hash]struct{}, len(frontier))
	for i, p := range frontier {
		hashes[i] = p.hash
		if _, twice := seen[p.hash]; twice {
			return nil, fmt.Errorf("%w: %s stands in two places", ErrMalformed, p.hash)
		}
		seen[p.hash] = struct{}{}
	}
	blobs, err := l.get(hashes)
	if err != nil {
		return nil, err
	}
	var next []place
	for i, p := range frontier {
		d, err := decode(blobs[i])
		if err == nil {
			next, err = l.add(next, p, d, level)
		}
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", p.hash, err)
		}
	}
	return next, nil
}

// add puts a decoded node into its place and appends what it needs to next.
func (l *loader) add(next []place, p place, d decoded, level int) ([]place, error) {
	if d.leaf != nil {
		if level != 0 {
			return nil, fmt.Errorf("%w: a tree of one leaf inside of another", ErrMalformed)
		}
		p.at.leaf = l.leaf(d.leaf, p.base)
		return next, nil
	}
	b := &branch{used: d.used, kids: make([]node, len(d.kids)), sum: p.hash}
	b.state.Store(sumKnown)
	l.branches = append(l.branches, b)
	p.at.branch = b
	for i, used := 0, d.used; used != 0; i, used = i+1, used&(used-1) {
		slot := uint(bits.TrailingZeros32(used))
		kid, base := d.kids[i], p.below(slot)
		if kid.leaf != nil {
			at := pathOf(kid.leaf.Key)
			if !at.begins(&p.path, level) || at.slot(level) != slot {
				return nil, fmt.Errorf("%w: %s stands where it does not belong", ErrMalformed, kid.leaf.Key)
			}
			b.kids[i].leaf = l.leaf(kid.leaf, base)
			continue
		}
		if base.branch != nil && base.branch.hash() == kid.branch {
			b.kids[i] = base
			continue
		}
		next = append(next, place{hash: kid.branch, at: &b.kids[i], path: p.path.with(level, slot), base: base})
	}
	return next, nil
}

// below is what the known tree has in the slot of a place. A leaf goes down with
// the paths that may be its own.
func (p *place) below(slot uint) node {
	if p.base.branch == nil {
		return p.base
	}
	n, _ := p.base.branch.child(slot)
	return n
}

// leaf gives the known leaf if that is the same, else one that waits for its
// bytes.
func (l *loader) leaf(leaf *Leaf, base node) *Leaf {
	if b := base.leaf; b != nil && b.Key == leaf.Key && b.Hash == leaf.Hash {
		return b
	}
	// There are few kinds and many leaves.
	kind, ok := l.kinds[leaf.Key.Kind]
	if !ok {
		kind = leaf.Key.Kind
		l.kinds[kind] = kind
	}
	leaf.Key.Kind = kind
	l.bare = append(l.bare, leaf)
	return leaf
}

func (l *loader) resources() error {
	if len(l.bare) == 0 {
		return nil
	}
	hashes := make([]Hash, len(l.bare))
	for i, leaf := range l.bare {
		hashes[i] = leaf.Hash
	}
	blobs, err := l.get(hashes)
	if err != nil {
		return err
	}
	for i, leaf := range l.bare {
		leaf.Bytes = blobs[i]
	}
	return nil
}

// get fetches and verifies.
func (l *loader) get(hashes []Hash) ([][]byte, error) {
	blobs, err := l.fetch(hashes)
	if err != nil {
		return nil, err
	}
	if len(blobs) != len(hashes) {
		return nil, fmt.Errorf("%w: %d blobs for %d hashes", ErrMismatch, len(blobs), len(hashes))
	}
	for i, b := range blobs {
		if Sum(b) != hashes[i] {
			return nil, fmt.Errorf("blob %s: %w", hashes[i], ErrMismatch)
		}
	}
	return blobs, nil
}

// count fills in the sizes, from the bottom up.
func (l *loader) count() {
	for i := len(l.branches) - 1; i >= 0; i-- {
		b := l.branches[i]
		for _, kid := range b.kids {
			b.size += kid.leaves()
		}
	}
}

// begins reports whether p agrees with o above the level.
func (p *path) begins(o *path, level int) bool {
	for i := range level {
		if p.slot(i) != o.slot(i) {
			return false
		}
	}
	return true
}

// with gives p with the slot at a level whose bits are still zero.
func (p path) with(level int, slot uint) path {
	bit := level * bitsPerLevel
	window := slot << (16 - bitsPerLevel - uint(bit%8))
	i := bit / 8
	p[i] |= byte(window >> 8)
	if i+1 < len(p) {
		p[i+1] |= byte(window)
	}
	return p
}
