package tree

import "iter"

// Diff tells how to make next of old: the leaves that are new or have other
// bytes, and the keys that are gone, both in the order of their paths. It costs
// what differs: subtrees that are the same object, or have the same hash, are
// not entered.
func Diff(old, next Tree) (upserts []Leaf, removed []Key) {
	d := differ{}
	d.nodes(old.top, next.top)
	return d.upserts, d.removed
}

type differ struct {
	upserts []Leaf
	removed []Key
}

func (d *differ) nodes(old, next node) {
	switch {
	case old == next:
	case old.branch != nil && next.branch != nil:
		d.branches(old.branch, next.branch)
	case old.branch != nil:
		d.collapsed(old, next.leaf)
	case next.branch != nil:
		d.grown(old.leaf, next)
	case old.leaf == nil:
		d.upserts = append(d.upserts, *next.leaf)
	case next.leaf == nil:
		d.removed = append(d.removed, old.leaf.Key)
	case old.leaf.Key != next.leaf.Key:
		d.removed = append(d.removed, old.leaf.Key)
		d.upserts = append(d.upserts, *next.leaf)
	case old.leaf.Hash != next.leaf.Hash:
		d.upserts = append(d.upserts, *next.leaf)
	}
}

func (d *differ) branches(old, next *branch) {
	if old.hash() == next.hash() {
		return
	}
	for slot := range uint(fanout) {
		if (old.used|next.used)>>slot&1 == 0 {
			continue
		}
		o, _ := old.child(slot)
		n, _ := next.child(slot)
		d.nodes(o, n)
	}
}

// collapsed is a branch of which one leaf, or nothing, is left.
func (d *differ) collapsed(old node, next *Leaf) {
	kept := false
	old.walk(func(l *Leaf) bool {
		if next == nil || l.Key != next.Key {
			d.removed = append(d.removed, l.Key)
			return true
		}
		kept = l.Hash == next.Hash
		return true
	})
	if next != nil && !kept {
		d.upserts = append(d.upserts, *next)
	}
}

// grown is a leaf, or nothing, that became a branch.
func (d *differ) grown(old *Leaf, next node) {
	gone := old != nil
	next.walk(func(l *Leaf) bool {
		if old != nil && l.Key == old.Key {
			gone = false
			if l.Hash == old.Hash {
				return true
			}
		}
		d.upserts = append(d.upserts, *l)
		return true
	})
	if gone {
		d.removed = append(d.removed, old.Key)
	}
}

// Nodes yields what a store must hold for Load to give the tree: the encodings
// of its branches and the canonical bytes of its resources, each under its hash,
// children before parents. A hash that skip knows is left out with all that is
// below; a nil skip knows none. Equal bytes under several keys come several
// times. What is yielded may not be changed.
func (t Tree) Nodes(skip func(Hash) bool) iter.Seq2[Hash, []byte] {
	if skip == nil {
		skip = func(Hash) bool { return false }
	}
	return func(yield func(Hash, []byte) bool) {
		root := t.Root()
		if t.top.empty() || skip(root) {
			return
		}
		if !emitNew(node{}, t.top, skip, yield) {
			return
		}
		if t.top.leaf != nil {
			yield(root, encodeOnlyLeaf(nil, t.top.leaf))
		}
	}
}

// Added is Nodes without what base has at the same place: what a store that
// holds base must add to hold t. It costs what differs.
func (t Tree) Added(base Tree) iter.Seq2[Hash, []byte] {
	return func(yield func(Hash, []byte) bool) {
		none := func(Hash) bool { return false }
		if !emitNew(base.top, t.top, none, yield) {
			return
		}
		if t.top.leaf == nil {
			return
		}
		if root := t.Root(); root != base.Root() {
			yield(root, encodeOnlyLeaf(nil, t.top.leaf))
		}
	}
}

// emitNew yields what is in n and not in base, and reports whether to go on.
func emitNew(base, n node, skip func(Hash) bool, yield func(Hash, []byte) bool) bool {
	switch {
	case n == base || n.empty():
		return true
	case n.leaf != nil:
		if skip(n.leaf.Hash) || base.leaf != nil && base.leaf.Hash == n.leaf.Hash {
			return true
		}
		return yield(n.leaf.Hash, n.leaf.Bytes)
	}
	hash := n.branch.hash()
	if skip(hash) || base.branch != nil && base.branch.hash() == hash {
		return true
	}
	for slot := range uint(fanout) {
		kid, _ := n.branch.child(slot)
		known := base // a leaf goes down with the paths that may be its own
		if base.branch != nil {
			known, _ = base.branch.child(slot)
		}
		if !emitNew(known, kid, skip, yield) {
			return false
		}
	}
	return yield(hash, n.branch.encode())
}
