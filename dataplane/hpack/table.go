package hpack

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// entryOverhead is what each entry counts besides its bytes (RFC 7541 section
// 4.1).
const entryOverhead = 32

// entry is a field of the dynamic table. Its bytes stand in the table's buffer,
// the value behind the name.
type entry struct {
	start       uint32 // counted from the first byte that was ever added
	name, value uint32 // lengths
	id          message.FieldID
}

func (e *entry) size() uint32 { return e.name + e.value + entryOverhead }

// table is the dynamic table: a queue of entries in a ring, and their bytes in
// one buffer, which is moved to its front when its end is reached.
type table struct {
	entries []entry // a ring; its length is a power of two, or 0
	first   uint32  // of the oldest
	count   uint32

	buf  []byte
	base uint32 // what start counts before buf[0]; wraps around, as start does

	size uint32 // as RFC 7541 section 4.1 counts
	max  uint32 // as the peer wants it
}

// at returns the entry that index names, 1 for the newest; nil: there is none.
func (t *table) at(index uint32) *entry {
	if index == 0 || index > t.count {
		return nil
	}
	return &t.entries[(t.first+t.count-index)&uint32(len(t.entries)-1)]
}

func (t *table) nameOf(e *entry) []byte {
	at := e.start - t.base
	return t.buf[at : at+e.name]
}

func (t *table) valueOf(e *entry) []byte {
	at := e.start - t.base + e.name
	return t.buf[at : at+e.value]
}

// resize sets the size that the peer wants.
func (t *table) resize(size uint32) {
	t.max = size
	t.shrink(size)
}

// shrink drops the oldest entries until the table's size is no more than size.
func (t *table) shrink(size uint32) {
	for t.size > size {
		t.size -= t.entries[t.first].size()
		t.first = (t.first + 1) & uint32(len(t.entries)-1)
		t.count--
	}
}

// add makes a field the newest entry. One that is larger than the table empties
// it and is not added (RFC 7541 section 4.4).
func (t *table) add(name, value []byte, id message.FieldID) {
	e := entry{name: uint32(len(name)), value: uint32(len(value)), id: id}
	if e.size() > t.max {
		t.shrink(0)
		return
	}
	t.shrink(t.max - e.size())
	t.makeRoom(len(name) + len(value))
	e.start = t.base + uint32(len(t.buf))
	t.buf = append(append(t.buf, name...), value...)
	if int(t.count) == len(t.entries) {
		t.moreEntries()
	}
	t.entries[(t.first+t.count)&uint32(len(t.entries)-1)] = e
	t.count++
	t.size += e.size()
}

// firstBuffer is the smallest buffer: a few fields of a client that sends its
// few requests.
const firstBuffer = 512

// makeRoom makes room for n bytes behind those of the newest entry. The buffer
// has twice the bytes that live in a full table at most, so bytes are moved once
// in as many as were added.
func (t *table) makeRoom(n int) {
	if len(t.buf)+n <= cap(t.buf) {
		return
	}
	live := t.buf[len(t.buf):]
	if t.count > 0 {
		live = t.buf[t.entries[t.first].start-t.base:]
	}
	to := t.buf[:0]
	if want := 2 * (len(live) + n); want > cap(t.buf) {
		to = make([]byte, 0, max(want, firstBuffer))
	}
	t.base += uint32(len(t.buf) - len(live))
	t.buf = append(to, live...)
}

// moreEntries doubles the ring.
func (t *table) moreEntries() {
	more := make([]entry, max(2*len(t.entries), 8))
	for i := range t.count {
		more[i] = t.entries[(t.first+i)&uint32(len(t.entries)-1)]
	}
	t.entries, t.first = more, 0
}
