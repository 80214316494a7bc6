package tree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

func routeKey(i int) Key { return Key{Kind: "Route", Name: fmt.Sprintf("route-%06d", i)} }

// build sets n routes, the body of each telling its number.
func build(n int) Tree {
	var t Tree
	for i := range n {
		t = t.Set(routeKey(i), fmt.Appendf(nil, "body of route %d", i))
	}
	return t
}

// fromMap builds a tree in the order of the keys.
func fromMap(m map[Key]string) Tree {
	var t Tree
	for _, k := range slices.SortedFunc(maps.Keys(m), Key.Compare) {
		t = t.Set(k, []byte(m[k]))
	}
	return t
}

// toMap also checks that each leaf has the hash of its bytes.
func toMap(t testing.TB, tr Tree) map[Key]string {
	t.Helper()
	m := make(map[Key]string)
	for l := range tr.All() {
		if l.Hash != Sum(l.Bytes) {
			t.Fatalf("%s: hash %s is not that of its bytes", l.Key, l.Hash)
		}
		if _, twice := m[l.Key]; twice {
			t.Fatalf("%s comes twice", l.Key)
		}
		m[l.Key] = string(l.Bytes)
	}
	if tr.Len() != len(m) {
		t.Fatalf("Len is %d, there are %d leaves", tr.Len(), len(m))
	}
	return m
}

func TestEmptyRootIsTheHashOfAnEmptyBranch(t *testing.T) {
	if want := Sum((&branch{}).encode()); EmptyRoot() != want {
		t.Fatalf("EmptyRoot is %s, want %s", EmptyRoot(), want)
	}
	if got := (Tree{}).Root(); got != EmptyRoot() {
		t.Fatalf("root of the zero tree is %s", got)
	}
	if got := build(3).Delete(routeKey(0)).Delete(routeKey(2)).Delete(routeKey(1)); got != (Tree{}) {
		t.Fatalf("a tree that was emptied has %d leaves and root %s", got.Len(), got.Root())
	}
}

// Stored trees and running nodes hold these roots: a change of them is a change
// of the format.
func TestRootsOfKnownTreesStay(t *testing.T) {
	for n, want := range map[int]string{
		1:    "9c38524c13e25c928306296888f56d22dbf404394ab3eb73be8f879c430799a1",
		2:    "8ebe7ffee30fbb8e6a9712f64b70bd068ff1ed23d0e8e632a0ea921ffb22ad8d",
		1000: "97e553878c71834109475725bca4663798e57a90134e7c16f0aea41c8aaed497",
	} {
		if got := build(n).Root().String(); got != want {
			t.Errorf("root of %d routes is %s, want %s", n, got, want)
		}
	}
}

func TestSetAndDeleteAgreeWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tr Tree
		model := make(map[Key]string)
		for range rapid.IntRange(0, 200).Draw(t, "operations") {
			k := drawKey(t)
			if rapid.IntRange(0, 2).Draw(t, "operation") == 0 {
				tr = tr.Delete(k)
				delete(model, k)
			} else {
				body := rapid.StringN(0, 3, -1).Draw(t, "body")
				tr = tr.Set(k, []byte(body))
				model[k] = body
			}
			want, there := model[k]
			if l, ok := tr.Get(k); ok != there || string(l.Bytes) != want {
				t.Fatalf("Get(%s) = %q, %v; want %q, %v", k, l.Bytes, ok, want, there)
			}
		}
		if !maps.Equal(leavesOf(tr), model) || tr.Len() != len(model) {
			t.Fatalf("the tree holds %v, the map %v", leavesOf(tr), model)
		}
		if got, want := tr.Root(), fromMap(model).Root(); got != want {
			t.Fatalf("the root depends on the order: %s, and %s in key order", got, want)
		}
	})
}

func TestDifferentSetsHaveDifferentRoots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawSet(t, "a"), drawSet(t, "b")
		if got, want := fromMap(a).Root() == fromMap(b).Root(), maps.Equal(a, b); got != want {
			t.Fatalf("same root: %v, same set: %v", got, want)
		}
	})
}

func TestDiffAppliedToTheOldGivesTheNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		old := drawSet(t, "old")
		next := maps.Clone(old)
		for range rapid.IntRange(0, 20).Draw(t, "changes") {
			k := drawKey(t)
			if rapid.Bool().Draw(t, "delete") {
				delete(next, k)
			} else {
				next[k] = rapid.StringN(0, 2, -1).Draw(t, "body")
			}
		}
		checkDiff(t, fromMap(old), fromMap(next))
	})
}

func TestDiffOfTheLargestShapes(t *testing.T) {
	empty, one, other, many := Tree{}, build(1), Tree{}.Set(routeKey(7), []byte("x")), build(500)
	trees := []Tree{empty, one, other, many, many.Delete(routeKey(0)), many.Set(routeKey(0), []byte("other")), build(40)}
	for _, a := range trees {
		for _, b := range trees {
			checkDiff(t, a, b)
		}
	}
}

type fataler interface{ Fatalf(string, ...any) }

// checkDiff also holds that a diff names nothing that does not differ.
func checkDiff(t fataler, old, next Tree) {
	upserts, removed := Diff(old, next)
	before, after := leavesOf(old), leavesOf(next)
	for _, l := range upserts {
		if body, ok := before[l.Key]; ok && body == string(l.Bytes) {
			t.Fatalf("%s is upserted and does not differ", l.Key)
		}
		if body, ok := after[l.Key]; !ok || body != string(l.Bytes) {
			t.Fatalf("%s is upserted and is not in the new tree", l.Key)
		}
	}
	for _, k := range removed {
		if _, ok := before[k]; !ok {
			t.Fatalf("%s is removed and was not there", k)
		}
	}
	got := old.Apply(upserts, removed)
	if got.Root() != next.Root() || got.Len() != next.Len() {
		t.Fatalf("the diff applied gives %d leaves, %s; want %d, %s", got.Len(), got.Root(), next.Len(), next.Root())
	}
}

func TestASetThatChangesNothingGivesTheSameTree(t *testing.T) {
	tr := build(100)
	if again := tr.Set(routeKey(42), []byte("body of route 42")); again != tr {
		t.Fatal("setting the same bytes made another tree")
	}
	if again := tr.Delete(routeKey(1000)); again != tr {
		t.Fatal("deleting what is not there made another tree")
	}
}

func TestASetSharesAllButOnePath(t *testing.T) {
	old := build(10_000)
	next := old.Set(routeKey(1234), []byte("another body"))
	known := make(map[*branch]bool)
	eachBranch(old.top, func(b *branch) { known[b] = true })
	fresh := 0
	eachBranch(next.top, func(b *branch) {
		if !known[b] {
			fresh++
		}
	})
	if fresh == 0 || fresh > 6 {
		t.Fatalf("one set made %d branches of %d", fresh, len(known))
	}
	if l, _ := old.Get(routeKey(1234)); string(l.Bytes) != "body of route 1234" {
		t.Fatalf("the old tree changed: %q", l.Bytes)
	}
}

func eachBranch(n node, visit func(*branch)) {
	if n.branch == nil {
		return
	}
	visit(n.branch)
	for _, kid := range n.branch.kids {
		eachBranch(kid, visit)
	}
}

// Paths that differ in their last bit only are as deep as it gets.
func TestDepthIsBounded(t *testing.T) {
	for bit := range 8 * HashSize {
		var pa, pb path
		pb[bit/8] = 0x80 >> (bit % 8)
		a, b := &Leaf{Key: Key{Name: "a"}}, &Leaf{Key: Key{Name: "b"}}
		n := split(b, &pb, a, &pa, 0)
		levels := 0
		eachBranch(n, func(*branch) { levels++ })
		if want := bit/bitsPerLevel + 1; levels != want || levels > maxLevels {
			t.Fatalf("paths that differ in bit %d make %d levels, want %d", bit, levels, want)
		}
		if n.leaves() != 2 {
			t.Fatalf("bit %d: %d leaves", bit, n.leaves())
		}
		// Any third leaf beside them, and each of the two found by its path.
		for n.branch != nil {
			if len(n.branch.kids) == 2 {
				if n.branch.kids[0].leaf != a || n.branch.kids[1].leaf != b {
					t.Fatalf("bit %d: the leaves are not in the order of their paths", bit)
				}
				break
			}
			n = n.branch.kids[0]
		}
	}
}

func TestPathWithIsTheInverseOfSlot(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		var want, got path
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		for level := range maxLevels {
			got = got.with(level, want.slot(level))
			if !got.begins(&want, level+1) {
				t.Fatalf("level %d: %x does not begin %x", level, got, want)
			}
		}
		if got != want {
			t.Fatalf("%x put together again is %x", want, got)
		}
	}
}

// The schema has no such kinds; a peer might.
func TestKeysWithOnePathAreOneKey(t *testing.T) {
	a, b := Key{Kind: "x", Name: "y\x00z"}, Key{Kind: "x\x00y", Name: "z"}
	if pathOf(a) != pathOf(b) {
		t.Fatal("the keys have different paths: the test is of no use")
	}
	one := Tree{}.Set(a, []byte("1"))
	two := one.Set(b, []byte("1"))
	if two.Len() != 1 {
		t.Fatalf("%d leaves, want 1", two.Len())
	}
	if _, ok := two.Get(a); ok {
		t.Fatal("the key that was replaced is found")
	}
	if d := one.Apply(Diff(one, two)); d.Root() != two.Root() {
		t.Fatal("the diff does not give the new tree")
	}
	if two.Delete(a).Len() != 0 {
		t.Fatal("delete by the other name does nothing")
	}
}

func TestRootIsSafeForConcurrentUse(t *testing.T) {
	tr := build(2000)
	want := fromMap(toMap(t, tr)).Root()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if got := tr.Root(); got != want {
				t.Errorf("root is %s, want %s", got, want)
			}
			other := tr.Set(routeKey(i), []byte("mine"))
			if upserts, _ := Diff(tr, other); len(upserts) != 1 {
				t.Errorf("%d upserts, want 1", len(upserts))
			}
		})
	}
	wg.Wait()
}

func TestParseHashReadsWhatStringWrites(t *testing.T) {
	h := Sum([]byte("x"))
	if got, err := ParseHash(h.String()); err != nil || got != h {
		t.Fatalf("ParseHash(%s) = %s, %v", h, got, err)
	}
	if got, err := HashFromBytes(h[:]); err != nil || got != h {
		t.Fatalf("HashFromBytes = %s, %v", got, err)
	}
	for _, bad := range []string{"", "12", h.String() + "00", "zz" + h.String()[2:]} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("ParseHash(%q) is accepted", bad)
		}
	}
	if _, err := HashFromBytes(h[:31]); err == nil {
		t.Error("a hash of 31 bytes is accepted")
	}
}

func leavesOf(tr Tree) map[Key]string {
	m := make(map[Key]string)
	for l := range tr.All() {
		m[l.Key] = string(l.Bytes)
	}
	return m
}

// drawKey draws of few keys, so that operations meet.
func drawKey(t *rapid.T) Key {
	kind := rapid.SampledFrom([]string{"Route", "Upstream", ""}).Draw(t, "kind")
	return Key{Kind: kind, Name: fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "name"))}
}

func drawSet(t *rapid.T, label string) map[Key]string {
	m := make(map[Key]string)
	for range rapid.IntRange(0, 80).Draw(t, label) {
		m[drawKey(t)] = rapid.StringN(0, 2, -1).Draw(t, "body")
	}
	return m
}
