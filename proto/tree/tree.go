package tree

import "iter"

// Leaf is one resource of a tree.
type Leaf struct {
	Key   Key
	Hash  Hash   // of Bytes
	Bytes []byte // canonical bytes; shared, never changed
}

// Tree is an immutable set of leaves with a root hash. The zero value is the
// empty tree.
type Tree struct {
	top node
}

// EmptyRoot is the root of the empty tree: the hash of the encoding of a branch
// without children, which no other tree contains.
func EmptyRoot() Hash {
	return Hash{
		0x10, 0x4d, 0xac, 0x8b, 0x31, 0xda, 0xb4, 0x86, 0xab, 0x63, 0x78, 0x74, 0x80, 0x98, 0xe2, 0x82,
		0x6c, 0x24, 0x9f, 0x9b, 0x99, 0x84, 0xac, 0x93, 0x8b, 0x0d, 0x19, 0x1f, 0x32, 0x94, 0xab, 0xdc,
	}
}

// Len is the number of leaves.
func (t Tree) Len() int { return t.top.leaves() }

// Root is the hash of the whole tree. It is computed when first asked for, and
// costs what was set and deleted since a tree with a known root.
func (t Tree) Root() Hash { return t.top.rootHash() }

// Get finds a resource.
func (t Tree) Get(k Key) (Leaf, bool) {
	n, p := t.top, pathOf(k)
	for level := 0; n.branch != nil; level++ {
		n, _ = n.branch.child(p.slot(level))
	}
	if n.leaf == nil || n.leaf.Key != k {
		return Leaf{}, false
	}
	return *n.leaf, true
}

// Set gives the tree in which k has these canonical bytes, which the caller may
// not change any more. Setting what is there already gives the same tree.
func (t Tree) Set(k Key, canonical []byte) Tree {
	p := pathOf(k)
	return Tree{top: t.top.set(&Leaf{Key: k, Hash: Sum(canonical), Bytes: canonical}, &p, 0)}
}

// Delete gives the tree without k.
func (t Tree) Delete(k Key) Tree {
	p := pathOf(k)
	top, _ := t.top.remove(&p, 0)
	return Tree{top: top}
}

// All yields the leaves in the order of their paths, which is the same for the
// same set.
func (t Tree) All() iter.Seq[Leaf] {
	return func(yield func(Leaf) bool) {
		t.top.walk(func(l *Leaf) bool { return yield(*l) })
	}
}

// Apply gives the tree without the removed keys and with the upserted leaves,
// whose hashes are computed anew: t.Apply(Diff(t, u)) is u.
func (t Tree) Apply(upserts []Leaf, removed []Key) Tree {
	for _, k := range removed {
		t = t.Delete(k)
	}
	for _, l := range upserts {
		t = t.Set(l.Key, l.Bytes)
	}
	return t
}
