package tree

import (
	"bytes"
	"fmt"
	"testing"
)

// FuzzDiffApply reads a list of operations that make two trees with a common
// past, and holds that Diff, Apply, Added and LoadFrom agree about them.
func FuzzDiffApply(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz"), []byte{1, 2, 3, 4, 5, 6})
	f.Add([]byte{0, 1, 0, 2, 0, 3}, []byte{128, 0, 128, 2, 1, 9})
	f.Fuzz(func(t *testing.T, past, ops []byte) {
		old := runOps(Tree{}, past)
		next := runOps(old, ops)
		checkDiff(t, old, next)
		checkDiff(t, next, old)
		checkDiff(t, runOps(Tree{}, ops), next)
		if rebuilt := fromMap(leavesOf(next)); rebuilt.Root() != next.Root() {
			t.Fatalf("the root depends on the order of operations")
		}
		b := blobs{}
		b.store(t, old)
		for h, enc := range next.Added(old) {
			b[h] = enc
		}
		loaded, err := Load(next.Root(), b.get)
		if err != nil {
			t.Fatal(err)
		}
		sameTree(t, loaded, next)
	})
}

// runOps takes two bytes an operation: which key and whether to delete, and what
// to write.
func runOps(t Tree, ops []byte) Tree {
	for i := 0; i+1 < len(ops); i += 2 {
		k := Key{Kind: "K", Name: fmt.Sprint(ops[i] & 127)}
		if ops[i] >= 128 && ops[i+1]&1 == 0 {
			t = t.Delete(k)
			continue
		}
		t = t.Set(k, ops[i+1:i+2])
	}
	return t
}

// FuzzNode holds that bytes are refused, or are the one encoding of a node.
func FuzzNode(f *testing.F) {
	for _, n := range []int{1, 2, 40} {
		for _, enc := range build(n).Nodes(nil) {
			f.Add(enc)
		}
	}
	f.Fuzz(func(t *testing.T, enc []byte) {
		d, err := decode(enc)
		if err != nil {
			if _, _, err := References(enc); err == nil {
				t.Fatal("References accepts what decode refuses")
			}
			return
		}
		var again []byte
		if d.leaf != nil {
			again = encodeOnlyLeaf(nil, d.leaf)
		} else {
			b := &branch{used: d.used}
			for _, kid := range d.kids {
				n := node{leaf: kid.leaf}
				if kid.leaf == nil {
					n = known(kid.branch)
				}
				b.kids = append(b.kids, n)
			}
			again = b.encode()
		}
		if !bytes.Equal(again, enc) {
			t.Fatalf("%x decodes and encodes to %x", enc, again)
		}
	})
}

// FuzzLoad cuts its input into blobs, the last of which is the root. Each hash
// that a blob names may be answered with any blob, and so hashes are kept right
// by writing the blobs in turn: 0xff in a blob is replaced by the next hash.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("x\x00\x01\x02"), byte(0))
	leaf, _ := build(1).Get(routeKey(0))
	f.Add(append(leaf.Bytes, encodeOnlyLeaf([]byte{0xfe}, &leaf)...), byte(0xfe))
	two := []byte{}
	for _, enc := range build(2).Nodes(nil) {
		two = append(append(two, 0xfe), enc...)
	}
	f.Add(two, byte(0xfe))
	f.Fuzz(func(t *testing.T, data []byte, separator byte) {
		b := blobs{}
		last := EmptyRoot()
		for part := range bytes.SplitSeq(data, []byte{separator}) {
			part = bytes.ReplaceAll(part, []byte{0xff}, last[:])
			last = b.put(part)
		}
		got, err := Load(last, b.get)
		if err != nil {
			return
		}
		if got.Root() != last {
			t.Fatalf("loaded %s and have %s", last, got.Root())
		}
		if rebuilt := fromMap(leavesOf(got)); rebuilt.Root() != last || rebuilt.Len() != got.Len() {
			t.Fatalf("a tree that no set makes was loaded")
		}
	})
}
