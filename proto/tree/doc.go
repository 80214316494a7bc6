// Package tree is the configuration tree: an immutable 32-way hash trie from
// (kind, name) to the canonical bytes of a resource, hashed as git hashes its
// trees. The root hash is the digest of a version.
//
// # Model
//
// The path of a key is SHA-256(kind, 0, name), five bits a level, from the most
// significant bit on. A branch has up to 32 children, each a leaf or a branch,
// and at least two leaves below it; a subtree that holds one leaf is that leaf,
// as high up as it can stand. So the shape of a tree follows from the set of its
// keys alone, and its root hash from the set of its keys and bytes: the same set
// has the same root, whatever the order of sets and deletes.
//
// A branch's hash is the SHA-256 of its encoding, which holds the hashes of its
// children, down to the hashes of the canonical bytes. Two subtrees with one
// hash are therefore one subtree, and Diff skips them: it costs what differs.
// The root of the empty tree is the constant EmptyRoot.
//
// A path is 256 bits, so no tree is deeper than 52 levels. Keys with one path are
// one key: that takes a collision of SHA-256, or a kind with a NUL byte in it,
// which no schema has.
//
// # Ownership
//
// A Tree is a small value and never changes; Set and Delete give a new one that
// shares all it can with the old. Trees may be read by any number of
// goroutines. The bytes given to Set belong to the tree from then on, and the
// bytes of a Leaf are shared: nobody may change them.
//
// # Stored form
//
// Nodes gives the encoding of each branch under its hash, and the canonical
// bytes of each resource under theirs; Load reads them back and believes
// nothing: hashes, shape and the place of each leaf are verified. The format is
// in encoding.go.
package tree
