package stats

import "sync/atomic"

// chunkSlots is how many slots are allocated together, when the first of them is
// counted for.
const (
	chunkBits  = 6
	chunkSlots = 1 << chunkBits
)

// rowWords is the width of a slot's counters: one cache line, so that a request
// for a route that was cold fetches one line and not several.
const rowWords = 8

// row is a slot's counters; what each is, is said by the constants beside the
// family.
type row [rowWords]uint64

// chunk holds the counters of neighbouring slots on one loop.
type chunk struct {
	rows [chunkSlots]row
	// slots says whom each row counts for, with the generation; 0: nobody yet.
	slots      [chunkSlots]Slot
	histograms [chunkSlots]atomic.Pointer[Histogram]
}

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
func (f *family) at(s Slot) (*chunk, uint32) {
	i := s & indexMask
	if i >= f.limit {
		i, s = 0, 0
	}
	c := f.chunks[i>>chunkBits].Load()
	if c == nil {
		c = new(chunk)
		f.chunks[i>>chunkBits].Store(c)
	}
	j := i & (chunkSlots - 1)
	if c.slots[j] != s {
		return f.turn(c, j, s)
	}
	return c, j
}

// turn is met when a row counted for another use of the slot. If that is an
// older one, the row starts anew; if it is a newer one, then this request began
// before its name went, and counts for the others.
func (f *family) turn(c *chunk, j uint32, s Slot) (*chunk, uint32) {
	const half = 1 << (31 - indexBits)
	if c.slots[j] != 0 && (s>>indexBits-c.slots[j]>>indexBits)&(2*half-1) >= half {
		return f.at(0)
	}
	store32(&c.slots[j], s)
	for w := range c.rows[j] {
		add(&c.rows[j][w], -c.rows[j][w])
	}
	c.histograms[j].Store(nil)
	return c, j
}

// closed takes one from the slot's open connections. Where the row counts for a
// newer name the connection is not in it any more.
func (f *family) closed(s Slot) {
	if c, j := f.at(s); c.slots[j] == s {
		add(&c.rows[j][rowOpen], ^uint64(0))
	}
}

// observe counts a duration for a place that at returned.
func (c *chunk) observe(j uint32, nanoseconds int64) {
	h := c.histograms[j].Load()
	if h == nil {
		h = new(Histogram)
		c.histograms[j].Store(h)
	}
	h.Observe(nanoseconds)
}

// read adds what the family holds for a slot to the totals.
func (f *family) read(s Slot, total *row, d *Distribution) {
	i := s & indexMask
	c := f.chunks[i>>chunkBits].Load()
	j := i & (chunkSlots - 1)
	if c == nil || atomic.LoadUint32(&c.slots[j]) != s {
		return
	}
	for w := range total {
		total[w] += atomic.LoadUint64(&c.rows[j][w])
	}
	if h := c.histograms[j].Load(); h != nil {
		d.add(h)
	}
}
