package tree

// node is a leaf or a branch. Immutable once it is in a tree.
type node struct {
	leaf *Leaf
}
