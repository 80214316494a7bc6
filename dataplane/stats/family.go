package stats

import "sync/atomic"

// chunkSlots is how many slots are allocated together, when the first of them is
// counted for.
const (
	chunkBits  = 6
	chunkSlots = 1 << chunkBits
)

// rowWords is the width of a slot's counters: one cache line.
const rowWords = 8

// row is a slot's counters; what each is, is said by the constants beside the
// family.
type row [rowWords]uint64

// place is all that a loop keeps for a slot. It fills two neighbouring cache
// lines, which processors fetch together: so a request for a route that was cold
// waits for memory once, and once more for its bucket of the histogram.
type place struct {
	row row
	// slot says whom the row counts for, with the generation; 0: nobody yet.
	slot Slot
	// The durations, as in a Histogram.
	sum     uint64
	buckets atomic.Pointer[buckets]
	_       [cacheLine - 8*rowWords - 24]byte
}

// chunk holds the places of neighbouring slots on one loop.
type chunk [chunkSlots]place

// family is one kind of series on one loop.
type family struct {
	chunks []atomic.Pointer[chunk]
	limit  uint32
}

func newFamily(limit uint32) family {
	return family{
		chunks: make([]atomic.Pointer[chunk], (limit+chunkSlots-1)/chunkSlots),
		limit:  limit,
	}
}

// at finds the place of a slot. It allocates when a chunk is met first.
func (f *family) at(s Slot) *place {
	i := s & indexMask
	if i >= f.limit {
		i, s = 0, 0
	}
	c := f.chunks[i>>chunkBits].Load()
	if c == nil {
		c = new(chunk)
		f.chunks[i>>chunkBits].Store(c)
	}
	p := &c[i&(chunkSlots-1)]
	if p.slot != s {
		return f.turn(p, s)
	}
	return p
}

// turn is met when a place counted for another use of the slot. If that is an
// older one, it starts anew; if it is a newer one, then this request began
// before its name went, and counts for the others.
func (f *family) turn(p *place, s Slot) *place {
	const half = 1 << (31 - indexBits)
	if p.slot != 0 && (s>>indexBits-p.slot>>indexBits)&(2*half-1) >= half {
		return f.at(0)
	}
	store32(&p.slot, s)
	for w := range p.row {
		add(&p.row[w], -p.row[w])
	}
	add(&p.sum, -p.sum)
	p.buckets.Store(nil)
	return p
}

// opened adds one to the slot's open connections, and says for which slot it counts.
func (f *family) opened(s Slot) Slot {
	p := f.at(s)
	add(&p.row[rowOpened], 1)
	add(&p.row[rowOpen], 1)
	return p.slot
}

// closed takes one from the slot's open connections. Where the place counts for a
// newer name the connection is not in it any more.
func (f *family) closed(s Slot) {
	if p := f.at(s); p.slot == s {
		add(&p.row[rowOpen], ^uint64(0))
	}
}

// observe counts a duration, as Histogram.Observe does.
func (p *place) observe(nanoseconds int64) {
	b := p.buckets.Load()
	if b == nil {
		b = new(buckets)
		p.buckets.Store(b)
	}
	v := uint64(max(nanoseconds, 0))
	add(&p.sum, v)
	add(&b[bucketOf(v)], 1)
}

// read adds what the family holds for a slot to the totals.
func (f *family) read(s Slot, total *row, d *Distribution) {
	i := s & indexMask
	c := f.chunks[i>>chunkBits].Load()
	if c == nil {
		return
	}
	p := &c[i&(chunkSlots-1)]
	if atomic.LoadUint32(&p.slot) != s {
		return
	}
	for w := range total {
		total[w] += atomic.LoadUint64(&p.row[w])
	}
	if b := p.buckets.Load(); b != nil {
		d.add(&p.sum, b)
	}
}
