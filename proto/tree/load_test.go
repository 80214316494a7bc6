package tree

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

var errMissing = errors.New("no such blob")

type blobs map[Hash][]byte

func (b blobs) get(h Hash) ([]byte, error) {
	if v, ok := b[h]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("%s: %w", h, errMissing)
}

func (b blobs) store(t testing.TB, tr Tree) {
	for h, enc := range tr.Nodes(nil) {
		if Sum(enc) != h {
			t.Fatalf("%s is not the hash of what is yielded", h)
		}
		// What is no node is a resource, and names nothing.
		if branches, resources, err := References(enc); err == nil {
			for _, below := range append(branches, resources...) {
				if _, ok := b[below]; !ok {
					t.Fatalf("%s is yielded before its child %s", h, below)
				}
			}
		}
		b[h] = enc
	}
}

func TestLoadReadsWhatNodesYields(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 33, 1000} {
		want := build(n)
		b := blobs{}
		b.store(t, want)
		got, err := Load(want.Root(), b.get)
		if err != nil {
			t.Fatalf("%d leaves: %v", n, err)
		}
		sameTree(t, got, want)
		// A loaded tree is as good as a built one.
		k := routeKey(n / 2)
		if got, want := got.Set(k, []byte("x")).Delete(routeKey(0)), want.Set(k, []byte("x")).Delete(routeKey(0)); got.Root() != want.Root() {
			t.Fatalf("%d leaves: changed after the load, the roots differ", n)
		}
	}
}

func sameTree(t testing.TB, got, want Tree) {
	t.Helper()
	g, w := toMap(t, got), toMap(t, want)
	if len(g) != len(w) || got.Root() != want.Root() {
		t.Fatalf("%d leaves with root %s, want %d with %s", len(g), got.Root(), len(w), want.Root())
	}
	for k, body := range w {
		if g[k] != body {
			t.Fatalf("%s is %q, want %q", k, g[k], body)
		}
	}
}

func TestStoreOfTheBaseAndWhatIsAddedHoldsTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, next := fromMap(drawSet(t, "base")), fromMap(drawSet(t, "next"))
		stored := make(map[Hash][]byte)
		for h, enc := range base.Nodes(nil) {
			stored[h] = enc
		}
		for h, enc := range next.Added(base) {
			stored[h] = enc
		}
		load := func(hashes []Hash) ([][]byte, error) {
			out := make([][]byte, len(hashes))
			for i, h := range hashes {
				enc, ok := stored[h]
				if !ok {
					return nil, fmt.Errorf("%s: %w", h, errMissing)
				}
				out[i] = enc
			}
			return out, nil
		}
		for _, known := range []Tree{{}, base, next} {
			got, err := LoadFrom(known, next.Root(), load)
			if err != nil {
				t.Fatal(err)
			}
			if got.Root() != next.Root() || got.Len() != next.Len() {
				t.Fatalf("loaded %d leaves with %s, want %d with %s", got.Len(), got.Root(), next.Len(), next.Root())
			}
			if u, r := Diff(got, next); len(u)+len(r) != 0 {
				t.Fatalf("what was loaded differs: %v, %v", u, r)
			}
		}
	})
}

func TestOneChangeAddsAndLoadsOnePath(t *testing.T) {
	base := build(10_000)
	next := base.Set(routeKey(77), []byte("changed"))
	b := blobs{}
	added := 0
	for h, enc := range next.Added(base) {
		b[h] = enc
		added++
	}
	if added > 6 {
		t.Errorf("one changed resource adds %d blobs", added)
	}
	fetched, calls := 0, 0
	got, err := LoadFrom(base, next.Root(), func(hashes []Hash) ([][]byte, error) {
		calls++
		fetched += len(hashes)
		var out [][]byte
		for _, h := range hashes {
			enc, err := b.get(h)
			if err != nil {
				return nil, err
			}
			out = append(out, enc)
		}
		return out, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, got, next)
	if fetched != added || calls > added {
		t.Errorf("fetched %d blobs in %d calls, %d were added", fetched, calls, added)
	}
	known := make(map[*branch]bool)
	eachBranch(base.top, func(b *branch) { known[b] = true })
	fresh := 0
	eachBranch(got.top, func(b *branch) {
		if !known[b] {
			fresh++
		}
	})
	if fresh > 6 {
		t.Errorf("the loaded tree shares all but %d branches with its base", fresh)
	}
}

func TestNodesSkipsWhatIsKnown(t *testing.T) {
	tr := build(1000)
	b := blobs{}
	b.store(t, tr)
	next := tr.Set(routeKey(3), []byte("changed"))
	n := 0
	for range next.Nodes(func(h Hash) bool { _, ok := b[h]; return ok }) {
		n++
	}
	if n == 0 || n > 6 {
		t.Fatalf("%d nodes yielded after one change", n)
	}
	for range next.Nodes(func(h Hash) bool { return h == next.Root() }) {
		t.Fatal("a known root is entered")
	}
	for range tr.Nodes(nil) { // stopping early is allowed
		break
	}
}

func TestCorruptedBlobsAreRefused(t *testing.T) {
	tr := build(300)
	whole := blobs{}
	whole.store(t, tr)
	for h := range whole {
		for name, damage := range map[string]func([]byte) []byte{
			"a bit":    func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"the end":  func(b []byte) []byte { return b[:len(b)-1] },
			"too much": func(b []byte) []byte { return append(b, 0) },
			"empty":    func([]byte) []byte { return nil },
		} {
			_, err := Load(tr.Root(), func(want Hash) ([]byte, error) {
				enc, err := whole.get(want)
				if want == h {
					enc = damage(bytes.Clone(enc))
				}
				return enc, err
			})
			if !errors.Is(err, ErrMismatch) {
				t.Fatalf("%s: %s: %v", h, name, err)
			}
		}
		delete(whole, h)
		if _, err := Load(tr.Root(), whole.get); !errors.Is(err, errMissing) {
			t.Fatalf("%s is missing: %v", h, err)
		}
		whole.store(t, tr)
	}
	if _, err := Load(Hash{}, whole.get); !errors.Is(err, errMissing) {
		t.Fatalf("the zero hash as root: %v", err)
	}
	if _, err := LoadFrom(Tree{}, tr.Root(), func([]Hash) ([][]byte, error) { return nil, nil }); !errors.Is(err, ErrMismatch) {
		t.Fatalf("a fetch that gives nothing: %v", err)
	}
}

// put stores a hand-made node.
func (b blobs) put(enc []byte) Hash {
	h := Sum(enc)
	b[h] = enc
	return h
}

// branchOf is a hand-made branch.
func branchOf(kids map[uint]node) []byte {
	b := &branch{}
	for slot := range uint(fanout) {
		if kid, ok := kids[slot]; ok {
			b.used |= 1 << slot
			b.kids = append(b.kids, kid)
		}
	}
	return b.encode()
}

func known(h Hash) node {
	b := &branch{sum: h}
	b.state.Store(sumKnown)
	return node{branch: b}
}

// Every hash is right here; the shape is wrong.
func TestTreesOfTheWrongShapeAreRefused(t *testing.T) {
	good := build(2)
	b := blobs{}
	b.store(t, good)
	leaves := make([]*Leaf, 2)
	for i := range leaves {
		l, _ := good.Get(routeKey(i))
		leaves[i] = &l
	}
	at := func(i int) uint { p := pathOf(leaves[i].Key); return p.slot(0) }
	below := func(i int) uint { p := pathOf(leaves[i].Key); return p.slot(1) }
	inner := func(i int) node { return known(b.put(branchOf(map[uint]node{below(i): {leaf: leaves[i]}}))) }
	if at(0) == at(1) {
		t.Fatal("the keys share their first slot: the test is of no use")
	}
	deep := good.Root()
	for range maxLevels + 3 {
		deep = b.put(branchOf(map[uint]node{at(0): known(deep)}))
	}
	wide := b.put(branchOf(map[uint]node{at(0): {leaf: leaves[0]}, at(1): {leaf: leaves[1]}}))
	for range 12 {
		kids := make(map[uint]node)
		for slot := range uint(fanout) {
			kids[slot] = known(wide)
		}
		wide = b.put(branchOf(kids))
	}
	for name, root := range map[string]Hash{
		"a leaf in another's slot":         b.put(branchOf(map[uint]node{at(0): {leaf: leaves[1]}, at(1): {leaf: leaves[0]}})),
		"a leaf deeper than it must stand": b.put(branchOf(map[uint]node{at(0): inner(0), at(1): {leaf: leaves[1]}})),
		"a branch of one leaf":             b.put(branchOf(map[uint]node{at(0): {leaf: leaves[0]}})),
		"a branch of nothing":              b.put(append(branchOf(nil), 0)[:branchHead]),
		"more levels than a path has":      deep,
		"a few nodes that name each other": wide,
		"a resource as node":               leaves[0].Hash,
		"a tree of one leaf inside":        b.put(branchOf(map[uint]node{at(0): known(b.put(encodeOnlyLeaf(nil, leaves[0]))), at(1): {leaf: leaves[1]}})),
	} {
		tr, err := Load(root, b.get)
		if name == "a branch of nothing" {
			if err != nil || tr.Len() != 0 {
				t.Errorf("the empty root: %v", err)
			}
			continue
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLongNamesAreKept(t *testing.T) {
	long := string(bytes.Repeat([]byte("n"), 5000))
	tr := build(3).Set(Key{Kind: "Route", Name: long}, []byte("x")).Set(Key{}, nil)
	b := blobs{}
	b.store(t, tr)
	got, err := Load(tr.Root(), b.get)
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, got, tr)
}
