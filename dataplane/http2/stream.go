package http2

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// half is how far one direction of a stream is.
//
//	     sent or received: HEADERS        END_STREAM
//	halfHead ─────────────────▶ halfBody ────────────▶ halfEnded
//	   └────────────────── with END_STREAM ───────────────▲
//
// The states of RFC 9113 section 5.1 are pairs of it: open is (body, head or
// body), half-closed (remote) has ended in our receiving direction, half-closed
// (local) in our sending one. A stream that ended in both, or that was reset, is
// closed and leaves the table; idle ones were never in it.
type half uint8

const (
	halfHead half = iota
	halfBody
	halfEnded
)

// stream is a stream that is not closed.
type stream struct {
	id  uint32 // 0: the slot is free
	tag uint32

	recv, send half
	method     message.Method // Client: of the request
	interim    uint8          // interim responses so far
	told       bool           // the caller knows of it
	tunnel     bool           // of CONNECT: DATA alone may follow
	mute       bool           // refused with an answer: what still comes is thrown away
	blocked    bool           // AppendData stopped at a window

	sendWindow int32 // negative after the peer has lowered its initial window
	recvWindow int32
	held       int32 // told or about to be, and not reported as consumed
	owed       int32 // consumed, and the window was not given back
	rest       int64 // bytes of the declared length that are to come; -1: none was declared
}

// maxSlots bounds Options.Streams: slots are numbered by 16 bits.
const maxSlots = 1 << 14

// streams is the table of streams: slots, and an index of them by open
// addressing. It grows with the number of streams and does not shrink.
type streams struct {
	slots []stream
	free  []uint16
	index []uint16 // slot+1, 0: empty; a power of two, at least twice the slots
	count int
}

// home is where the search for an id begins. Ids of one side are all odd.
func (t *streams) home(id uint32) uint32 { return id >> 1 & uint32(len(t.index)-1) }

// find returns the stream, nil if it is not there. The pointer dies at the next
// add.
func (t *streams) find(id uint32) *stream {
	if t.count == 0 {
		return nil
	}
	for i := t.home(id); ; i = (i + 1) & uint32(len(t.index)-1) {
		slot := t.index[i]
		if slot == 0 {
			return nil
		}
		if s := &t.slots[slot-1]; s.id == id {
			return s
		}
	}
}

// add makes a stream that is not there.
func (t *streams) add(id uint32) *stream {
	if len(t.free) == 0 {
		t.grow()
	}
	last := len(t.free) - 1
	slot := t.free[last]
	t.free = t.free[:last]
	t.count++
	t.insert(id, slot)
	s := &t.slots[slot]
	*s = stream{id: id, rest: -1}
	return s
}

func (t *streams) insert(id uint32, slot uint16) {
	i := t.home(id)
	for t.index[i] != 0 {
		i = (i + 1) & uint32(len(t.index)-1)
	}
	t.index[i] = slot + 1
}

// grow doubles the slots.
func (t *streams) grow() {
	old := len(t.slots)
	size := max(2*old, 4)
	slots := make([]stream, size)
	copy(slots, t.slots)
	t.slots = slots
	free := make([]uint16, 0, size)
	for slot := size - 1; slot >= old; slot-- {
		free = append(free, uint16(slot))
	}
	t.free = free
	t.index = make([]uint16, 2*size)
	for slot := range old {
		t.insert(slots[slot].id, uint16(slot))
	}
}

// remove takes a stream out. What stands behind it in the index moves up, so
// that no search ends too early.
func (t *streams) remove(id uint32) {
	mask := uint32(len(t.index) - 1)
	i := t.home(id)
	for t.slots[t.index[i]-1].id != id {
		i = (i + 1) & mask
	}
	slot := t.index[i] - 1
	t.slots[slot].id = 0
	t.free = append(t.free, slot)
	t.count--
	for next := (i + 1) & mask; t.index[next] != 0; next = (next + 1) & mask {
		home := t.home(t.slots[t.index[next]-1].id)
		if (next-home)&mask >= (next-i)&mask {
			t.index[i] = t.index[next]
			i = next
		}
	}
	t.index[i] = 0
}

// ending is how a stream ended, as far as that is remembered.
type ending uint8

const (
	endUnknown ending = iota // long ago, or it never began
	endBoth                  // both sides ended it
	endPeer                  // the peer reset it
	endOurs                  // we reset it: the peer may not know yet
)

const (
	// rememberedEnds are the streams that the peer closed and of which it should
	// send nothing more: enough to tell an error from a late frame.
	rememberedEnds = 32
	// rememberedResets are those that we reset. All streams of a connection may
	// be reset at once, and frames of all may be on their way.
	rememberedResets = 128
)

// closed remembers the streams that were closed last.
type closed struct {
	ends     [rememberedEnds]uint32 // id<<1, with the lowest bit for endPeer
	next     uint8
	resets   []uint32
	nextOurs uint8
}

func (c *closed) add(id uint32, how ending) {
	if how == endOurs {
		if len(c.resets) < rememberedResets {
			c.resets = append(c.resets, id)
			return
		}
		c.resets[c.nextOurs] = id
		c.nextOurs = (c.nextOurs + 1) % rememberedResets
		return
	}
	entry := id << 1
	if how == endPeer {
		entry |= 1
	}
	c.ends[c.next] = entry
	c.next = (c.next + 1) % rememberedEnds
}

func (c *closed) find(id uint32) ending {
	for _, entry := range c.ends {
		if entry>>1 == id {
			return endBoth + ending(entry&1)
		}
	}
	for _, other := range c.resets {
		if other == id {
			return endOurs
		}
	}
	return endUnknown
}
