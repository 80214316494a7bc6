package table

import (
	"iter"
	"math/bits"

	"github.com/zeebo/xxh3"
)

const (
	trieBits = 5
	trieFan  = 1 << trieBits
	// trieLeaf is how many entries stand side by side before they are spread one
	// level further: as many as there are tags in two words.
	trieLeaf = 16
	// trieShift is the last shift that still has bits of a 64-bit hash below it.
	trieShift = 60
)

// Trie is a persistent map from strings to values: a 32-way hash trie whose
// versions share what did not change, so that changing one of 100,000 entries
// copies a few kilobytes and leaves every older version as it was. It is what
// an Index is made of; package compile keeps what it knows in the same way.
//
// The zero value is empty. A Trie is immutable and may be read by any number of
// goroutines; Edit changes a copy.
type Trie[V any] struct {
	root  trieSlot[V]
	owner *Edit // who may change root's leaf in place; compared only
	n     int
}

// trieSlot is a subtree: nothing, a leaf of entries, or a branch.
type trieSlot[V any] struct {
	branch  *trieBranch[V]
	entries []trieEntry[V] // changed in place by an owner only
	// tags are the topmost bytes of the first trieLeaf hashes, so that of a leaf,
	// which is likely cold, only the one entry is looked at.
	tags [2]uint64
}

type trieBranch[V any] struct {
	owner *Edit // who may change it in place; compared only
	// fresh has a bit for each slot whose leaf was made by owner too.
	fresh uint32
	slots [trieFan]trieSlot[V]
}

type trieEntry[V any] struct {
	hash  uint64
	key   string
	value V
}

// Edit is the right to change in place what it has already copied: one is made
// for a batch of changes and forgotten with it.
type Edit struct{ _ byte }

// Len is the number of entries.
func (t *Trie[V]) Len() int { return t.n }

// Get returns the value of key.
func (t *Trie[V]) Get(key string) (value V, ok bool) {
	if p := t.find(xxh3.HashString(key), key); p != nil {
		return *p, true
	}
	return value, false
}

// find returns a pointer to the value of key, which must only be read, or nil.
// The hash may be any function of the key, the same for all calls.
func (t *Trie[V]) find(hash uint64, key string) *V {
	slot := t.leaf(hash)
	for i := slot.candidate(hash, 0); i >= 0; i = slot.candidate(hash, i+1) {
		if e := &slot.entries[i]; e.hash == hash && e.key == key {
			return &e.value
		}
	}
	return nil
}

// findBytes is find for a key that is not a string yet.
func (t *Trie[V]) findBytes(hash uint64, key []byte) *V {
	slot := t.leaf(hash)
	for i := slot.candidate(hash, 0); i >= 0; i = slot.candidate(hash, i+1) {
		if e := &slot.entries[i]; e.hash == hash && e.key == string(key) {
			return &e.value
		}
	}
	return nil
}

// leaf is the slot in which hash would stand.
func (t *Trie[V]) leaf(hash uint64) *trieSlot[V] {
	slot := &t.root
	for h := hash; slot.branch != nil; h >>= trieBits {
		slot = &slot.branch.slots[h%trieFan]
	}
	return slot
}

// candidate is the first index from from on whose entry may have the hash; -1 if
// there is none.
func (s *trieSlot[V]) candidate(hash uint64, from int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	tag := hash >> 56 * ones
	for from < trieLeaf {
		// A zero byte is a match; see indexSlash. There are no false ones below the
		// first, and the entry is compared anyway.
		x := (s.tags[from/8] ^ tag) >> (8 * (from % 8))
		match := (x - ones) &^ x & highs
		i := from + bits.TrailingZeros64(match)/8
		if match != 0 && i < len(s.entries) && i/8 == from/8 {
			return i
		}
		from = (from/8 + 1) * 8
	}
	if from < len(s.entries) {
		return from // hashes that collide: there is no deeper level
	}
	return -1
}

// All yields the entries in no useful order, the same for equal histories.
func (t *Trie[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) { t.root.all(yield) }
}

func (s *trieSlot[V]) all(yield func(string, V) bool) bool {
	if s.branch != nil {
		for i := range s.branch.slots {
			if !s.branch.slots[i].all(yield) {
				return false
			}
		}
		return true
	}
	for i := range s.entries {
		if !yield(s.entries[i].key, s.entries[i].value) {
			return false
		}
	}
	return true
}

// Set returns t with key set to value.
func (t Trie[V]) Set(e *Edit, key string, value V) Trie[V] {
	*t.upsert(e, xxh3.HashString(key), key) = value
	return t
}

// Update returns t with key set to what change makes of its value, which is zero
// if there was none.
func (t Trie[V]) Update(e *Edit, key string, change func(V) V) Trie[V] {
	value := t.upsert(e, xxh3.HashString(key), key)
	*value = change(*value)
	return t
}

// Delete returns t without key.
func (t Trie[V]) Delete(e *Edit, key string) Trie[V] {
	t.remove(e, xxh3.HashString(key), key)
	return t
}

// upsert returns a pointer to key's value in a leaf that e owns, to be written at
// once; a new key has the zero value. It changes t, and no other version.
func (t *Trie[V]) upsert(e *Edit, hash uint64, key string) *V {
	slot, shift := &t.root, 0
	var parent *trieBranch[V] // nil: t holds the leaf itself
	fresh := t.owner == e
	for {
		if slot.branch == nil {
			if i := slot.index(hash, key); i >= 0 {
				if !fresh {
					slot.entries = append(make([]trieEntry[V], 0, len(slot.entries)), slot.entries...)
					t.made(e, parent, hash, shift)
				}
				return &slot.entries[i].value // the tags stay
			}
			if len(slot.entries) < trieLeaf || shift > trieShift {
				break
			}
			slot.split(e, shift)
		}
		slot.own(e)
		parent = slot.branch
		fresh = parent.fresh>>(hash>>shift%trieFan)&1 != 0
		slot = &parent.slots[hash>>shift%trieFan]
		shift += trieBits
	}
	t.n++
	n := len(slot.entries)
	grown := make([]trieEntry[V], n+1)
	copy(grown, slot.entries)
	grown[n] = trieEntry[V]{hash: hash, key: key}
	slot.put(grown)
	t.made(e, parent, hash, shift)
	return &grown[n].value
}

// made notes that e made the leaf below parent, or that of t itself.
func (t *Trie[V]) made(e *Edit, parent *trieBranch[V], hash uint64, shift int) {
	if parent == nil {
		t.owner = e
		return
	}
	parent.fresh |= 1 << (hash >> (shift - trieBits) % trieFan)
}

// remove takes key out of t, and of no other version.
func (t *Trie[V]) remove(e *Edit, hash uint64, key string) {
	if t.find(hash, key) == nil {
		return
	}
	t.n--
	t.root.remove(e, hash, 0, key)
}

func (s *trieSlot[V]) remove(e *Edit, hash uint64, shift int, key string) {
	if s.branch == nil {
		i := s.index(hash, key)
		var less []trieEntry[V]
		if len(s.entries) > 1 {
			less = make([]trieEntry[V], 0, len(s.entries)-1)
			less = append(append(less, s.entries[:i]...), s.entries[i+1:]...)
		}
		s.put(less)
		return
	}
	s.own(e)
	s.branch.slots[hash>>shift%trieFan].remove(e, hash, shift+trieBits, key)
	s.merge()
}

func (s *trieSlot[V]) index(hash uint64, key string) int {
	for i := range s.entries {
		if s.entries[i].hash == hash && s.entries[i].key == key {
			return i
		}
	}
	return -1
}

// put makes s a leaf of entries, or nothing.
func (s *trieSlot[V]) put(entries []trieEntry[V]) {
	s.entries, s.tags = entries, [2]uint64{}
	for i := range min(len(entries), trieLeaf) {
		s.tags[i/8] |= entries[i].hash >> 56 << (8 * (i % 8))
	}
}

// own makes s's branch one that e may change.
func (s *trieSlot[V]) own(e *Edit) {
	if s.branch.owner == e {
		return
	}
	b := *s.branch
	b.owner, b.fresh = e, 0
	s.branch = &b
}

// split spreads a full leaf over a branch.
func (s *trieSlot[V]) split(e *Edit, shift int) {
	b := &trieBranch[V]{owner: e}
	for i := range s.entries {
		to := &b.slots[s.entries[i].hash>>shift%trieFan]
		to.put(append(to.entries[:len(to.entries):len(to.entries)], s.entries[i]))
	}
	*s = trieSlot[V]{branch: b}
}

// merge turns an owned branch that a leaf could hold back into a leaf.
func (s *trieSlot[V]) merge() {
	n := 0
	for i := range s.branch.slots {
		if s.branch.slots[i].branch != nil {
			return
		}
		if n += len(s.branch.slots[i].entries); n > trieLeaf {
			return
		}
	}
	var entries []trieEntry[V]
	for i := range s.branch.slots {
		if own := s.branch.slots[i].entries; len(own) > 0 {
			if entries == nil {
				entries = make([]trieEntry[V], 0, n)
			}
			entries = append(entries, own...)
		}
	}
	s.branch = nil
	s.put(entries)
}
