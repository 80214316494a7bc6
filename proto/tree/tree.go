package tree

// Leaf is one resource of a tree.
type Leaf struct {
	Key   Key
	Hash  Hash   // of Bytes
	Bytes []byte // canonical bytes; shared, never changed
}

// Tree is an immutable set of leaves with a root hash. The zero value is the
// empty tree.
type Tree struct {
	root *node
	n    int
}

// Len is the number of leaves.
func (t Tree) Len() int { return t.n }
