package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// The encoding of a branch:
//
//	0x0f, used (4 bytes), leaves (4 bytes), one entry for each bit of used
//
// from slot 0 on. Both words are big-endian and number the slots from the least
// significant bit; leaves tells which of the used slots hold a leaf. An entry is
// the hash of a branch, or a leaf:
//
//	len(kind), kind, len(name), name, hash of the canonical bytes
//
// with lengths as shortest unsigned varints. The root of a tree of one leaf is
// 0x17 and that leaf.
//
// A node has one encoding. The first bytes have a wire type that protobuf does
// not know, so no resource is taken for a node.
const (
	markBranch   = 0x0f
	markOnlyLeaf = 0x17

	branchHead = 1 + 4 + 4
)

// ErrMalformed is the kind of error of bytes that are no node of a tree.
var ErrMalformed = errors.New("malformed tree node")

// appendBranch takes the hashes of the kids that are branches, by their index.
func appendBranch(dst []byte, b *branch, below *[fanout]Hash) []byte {
	var leaves uint32
	used := b.used
	for _, kid := range b.kids {
		low := used & -used
		if kid.leaf != nil {
			leaves |= low
		}
		used &^= low
	}
	dst = append(dst, markBranch)
	dst = binary.BigEndian.AppendUint32(dst, b.used)
	dst = binary.BigEndian.AppendUint32(dst, leaves)
	for i, kid := range b.kids {
		if kid.leaf != nil {
			dst = appendLeaf(dst, kid.leaf)
			continue
		}
		dst = append(dst, below[i][:]...)
	}
	return dst
}

func encodeOnlyLeaf(dst []byte, l *Leaf) []byte {
	return appendLeaf(append(dst, markOnlyLeaf), l)
}

func appendLeaf(dst []byte, l *Leaf) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(l.Key.Kind)))
	dst = append(dst, l.Key.Kind...)
	dst = binary.AppendUvarint(dst, uint64(len(l.Key.Name)))
	dst = append(dst, l.Key.Name...)
	return append(dst, l.Hash[:]...)
}

// decoded is a node as its encoding tells it, before its children are known.
type decoded struct {
	used  uint32
	kids  []decodedKid // one for each used slot
	leaf  *Leaf        // the tree's only leaf, instead of a branch
	inner int          // how many kids are branches
}

type decodedKid struct {
	leaf   *Leaf // without Bytes
	branch Hash  // if leaf is nil
}

// decode reads any node. What it accepts encodes to the same bytes.
func decode(enc []byte) (decoded, error) {
	if len(enc) == 0 {
		return decoded{}, fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	switch enc[0] {
	case markOnlyLeaf:
		l, rest, err := decodeLeaf(enc[1:])
		if err != nil {
			return decoded{}, err
		}
		if len(rest) != 0 {
			return decoded{}, fmt.Errorf("%w: %d bytes after its end", ErrMalformed, len(rest))
		}
		return decoded{leaf: l}, nil
	case markBranch:
		return decodeBranch(enc)
	}
	return decoded{}, fmt.Errorf("%w: it begins with %#02x", ErrMalformed, enc[0])
}

func decodeBranch(enc []byte) (decoded, error) {
	if len(enc) < branchHead {
		return decoded{}, fmt.Errorf("%w: a branch of %d bytes", ErrMalformed, len(enc))
	}
	d := decoded{used: binary.BigEndian.Uint32(enc[1:])}
	leaves := binary.BigEndian.Uint32(enc[5:])
	if leaves&^d.used != 0 {
		return decoded{}, fmt.Errorf("%w: leaves %#x in slots %#x", ErrMalformed, leaves, d.used)
	}
	if n := bits.OnesCount32(d.used); n == 0 || n == 1 && leaves != 0 {
		return decoded{}, fmt.Errorf("%w: a branch of fewer than two leaves", ErrMalformed)
	}
	d.inner = bits.OnesCount32(d.used &^ leaves)
	rest := enc[branchHead:]
	d.kids = make([]decodedKid, 0, bits.OnesCount32(d.used))
	for used := d.used; used != 0; used &= used - 1 {
		var kid decodedKid
		var err error
		if leaves&(used&-used) != 0 {
			kid.leaf, rest, err = decodeLeaf(rest)
		} else {
			kid.branch, rest, err = cutHash(rest)
		}
		if err != nil {
			return decoded{}, err
		}
		d.kids = append(d.kids, kid)
	}
	if len(rest) != 0 {
		return decoded{}, fmt.Errorf("%w: %d bytes after its end", ErrMalformed, len(rest))
	}
	return d, nil
}

func decodeLeaf(b []byte) (*Leaf, []byte, error) {
	l := &Leaf{}
	var err error
	if l.Key.Kind, b, err = cutString(b); err != nil {
		return nil, nil, err
	}
	if l.Key.Name, b, err = cutString(b); err != nil {
		return nil, nil, err
	}
	if l.Hash, b, err = cutHash(b); err != nil {
		return nil, nil, err
	}
	return l, b, nil
}

func cutString(b []byte) (string, []byte, error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || size > 1 && b[size-1] == 0 { // cut off, too large, or not the shortest form
		return "", nil, fmt.Errorf("%w: a bad length", ErrMalformed)
	}
	b = b[size:]
	if n > uint64(len(b)) {
		return "", nil, fmt.Errorf("%w: a string of %d bytes where %d are left", ErrMalformed, n, len(b))
	}
	return string(b[:n]), b[n:], nil
}

func cutHash(b []byte) (Hash, []byte, error) {
	if len(b) < HashSize {
		return Hash{}, nil, fmt.Errorf("%w: a hash of %d bytes", ErrMalformed, len(b))
	}
	return Hash(b[:HashSize]), b[HashSize:], nil
}

// References tells what the encoding of a node refers to: branches, and the
// canonical bytes of resources. Whoever walks stored trees without loading them
// (a garbage collector) needs no more.
func References(enc []byte) (branches, resources []Hash, err error) {
	d, err := decode(enc)
	if err != nil {
		return nil, nil, err
	}
	if d.leaf != nil {
		return nil, []Hash{d.leaf.Hash}, nil
	}
	branches = make([]Hash, 0, d.inner)
	resources = make([]Hash, 0, len(d.kids)-d.inner)
	for _, kid := range d.kids {
		if kid.leaf != nil {
			resources = append(resources, kid.leaf.Hash)
			continue
		}
		branches = append(branches, kid.branch)
	}
	return branches, resources, nil
}
