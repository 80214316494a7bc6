package stats

import (
	"cmp"
	"slices"
	"sync"
)

// Slot is what a name's series are kept under: the low bits are a small index,
// the high ones the generation of its use. Slot 0 is everything that has none.
type Slot = uint32

const (
	indexBits = 20
	indexMask = 1<<indexBits - 1
	// maxSlots is how many slots an Interner can give at most.
	maxSlots = 1 << indexBits
)

// Other is how slot 0 is shown. A listener, a route or an upstream of that name shares
// it: two series of one name would be none, as nobody could read the metrics any more.
const Other = "other"

// Key names a series: a listener, a route or an upstream by Name, an endpoint by
// its upstream (Parent) and its address.
type Key struct{ Parent, Name string }

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Name, b.Name))
}

// Interner gives slots to names.
type Interner struct {
	limit uint32 // immutable; slots are below it

	mu    sync.Mutex
	slots map[Key]Slot // guarded by mu
	// free are slots whose names went, with the generation of their next use; the
	// one that went first is used first.
	free []Slot // guarded by mu
	next uint32 // guarded by mu; the first index that was never used
}

func newInterner(limit int) *Interner {
	return &Interner{
		limit: uint32(min(max(limit, 1), maxSlots)),
		slots: map[Key]Slot{},
		next:  1,
	}
}

// Acquire returns the slot of a name, a new one if it has none, or 0 if all are
// taken.
func (in *Interner) Acquire(k Key) Slot {
	if k == (Key{Name: Other}) {
		return 0
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if s, ok := in.slots[k]; ok {
		return s
	}
	var s Slot
	switch {
	case in.next < in.limit:
		s = in.next
		in.next++
	case len(in.free) > 0:
		s = in.free[0]
		in.free = in.free[1:]
	default:
		return 0
	}
	in.slots[k] = s
	return s
}

// Retain takes the slots of all names that keep does not want.
func (in *Interner) Retain(keep func(Key) bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var gone []Slot
	for k, s := range in.slots {
		if !keep(k) {
			delete(in.slots, k)
			gone = append(gone, s+1<<indexBits)
		}
	}
	// In one order, so that equal histories give equal slots.
	slices.Sort(gone)
	in.free = append(in.free, gone...)
}

// Len is the number of names that have a slot.
func (in *Interner) Len() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.slots)
}

// series is a name with its slot.
type series struct {
	key  Key
	slot Slot
}

// all lists the names in order, and slot 0 as the last.
func (in *Interner) all() []series {
	in.mu.Lock()
	out := make([]series, 0, len(in.slots)+1)
	for k, s := range in.slots {
		out = append(out, series{k, s})
	}
	in.mu.Unlock()
	slices.SortFunc(out, func(a, b series) int { return compareKeys(a.key, b.key) })
	return append(out, series{Key{Name: Other}, 0})
}
