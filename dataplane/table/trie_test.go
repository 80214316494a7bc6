package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"
)

// Every version of a trie must stay what it was, whatever is made from it, and
// whether an Edit makes one change or many.
func TestTrieVersionsStayWhatTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	type version struct {
		trie Trie[int]
		want map[string]int
	}
	versions := []version{{want: map[string]int{}}}
	for step := range 400 {
		from := versions[r.IntN(len(versions))]
		next, want, edit := from.trie, maps.Clone(from.want), new(Edit)
		for range 1 + r.IntN(40) {
			key := fmt.Sprint(r.IntN(600))
			switch r.IntN(4) {
			case 0:
				next = next.Delete(edit, key)
				delete(want, key)
			case 1:
				next = next.Update(edit, key, func(v int) int { return v + 1 })
				want[key]++
			default:
				next = next.Set(edit, key, step)
				want[key] = step
			}
		}
		versions = append(versions, version{next, want})
	}
	for i, v := range versions {
		got := map[string]int{}
		for k, n := range v.trie.All() {
			got[k] = n
		}
		if !maps.Equal(got, v.want) || v.trie.Len() != len(v.want) {
			t.Fatalf("version %d: %d entries (Len %d), want %d", i, len(got), v.trie.Len(), len(v.want))
		}
		for k, n := range v.want {
			if got, ok := v.trie.Get(k); !ok || got != n {
				t.Fatalf("version %d: %s is %d %v, want %d", i, k, got, ok, n)
			}
			if p := v.trie.findBytes(xxh3.HashString(k), []byte(k)); p == nil || *p != n {
				t.Fatalf("version %d: findBytes of %s", i, k)
			}
		}
		if _, ok := v.trie.Get("none"); ok {
			t.Fatal("finds what is not there")
		}
	}
}

// Keys whose hashes are equal, or differ in the topmost bits alone, find their
// way too.
func TestTrieKeepsCollidingHashes(t *testing.T) {
	for name, hash := range map[string]func(int) uint64{
		"equal":      func(int) uint64 { return 42 },
		"topmost":    func(i int) uint64 { return uint64(i)<<60 | 7 },
		"equal tags": func(i int) uint64 { return uint64(i) & 3 << 5 },
	} {
		t.Run(name, func(t *testing.T) {
			var trie Trie[int]
			edit := new(Edit)
			const n = 100
			for i := range n {
				*trie.upsert(edit, hash(i), fmt.Sprint(i)) = i
			}
			for i := range n {
				if p := trie.find(hash(i), fmt.Sprint(i)); p == nil || *p != i {
					t.Fatalf("%d is lost", i)
				}
				if p := trie.findBytes(hash(i), []byte(fmt.Sprint(i))); p == nil || *p != i {
					t.Fatalf("%d is lost to findBytes", i)
				}
			}
			for i := range n {
				trie.remove(edit, hash(i), fmt.Sprint(i))
				if trie.find(hash(i), fmt.Sprint(i)) != nil || trie.Len() != n-1-i {
					t.Fatalf("%d is still there", i)
				}
			}
			if trie.root.branch != nil || trie.root.entries != nil {
				t.Error("not empty")
			}
		})
	}
}

func TestSegmentsAreFound(t *testing.T) {
	for _, path := range []string{"/", "//", "/a", "/abcdefg", "/abcdefgh", "/abcdefghi/x", "/abcdefg/x", "/1234567/12345678/123456789/", "/a//b", "/\xaf\xaf/\x2e\x30/b"} {
		h, at := uint64(prefixSeed), 0
		var ends []int
		for at < len(path) {
			at, h = nextSegment([]byte(path), at, h)
			ends = append(ends, at)
		}
		var want []int
		for i := 1; i <= len(path); i++ {
			if i == len(path) || path[i] == '/' {
				want = append(want, i)
			}
		}
		if fmt.Sprint(ends) != fmt.Sprint(want) {
			t.Errorf("%q: segments end at %v, want %v", path, ends, want)
		}
		if path[len(path)-1] != '/' && prefixHash(path) != h {
			t.Errorf("%q: hash of the whole differs", path)
		}
	}
}
