//go:build linux

package evloop

// Pooled buffers come in four sizes; a class keeps what it may, the rest is the
// garbage collector's. The third is what is left of a splice, the fourth highWater
// and a read.
var bufferSizes = [...]int{4 << 10, 32 << 10, splicePiece, 160 << 10}

// keepBytes is what one class of one loop keeps at most.
const keepBytes = 8 << 20

// buffers is the pool of one loop.
type buffers struct {
	free [len(bufferSizes)][][]byte
	used int // bytes given out, for the metrics
}

// take gives an empty buffer for at least n bytes.
func (b *buffers) take(n int) []byte {
	for class, size := range bufferSizes {
		if n > size {
			continue
		}
		b.used += size
		list := b.free[class]
		if last := len(list) - 1; last >= 0 {
			buf := list[last]
			b.free[class] = list[:last]
			return buf[:0]
		}
		return make([]byte, 0, size)
	}
	b.used += n
	return make([]byte, 0, n)
}

// give takes a buffer back. It must not be used afterwards.
func (b *buffers) give(buf []byte) {
	if cap(buf) == 0 {
		return
	}
	b.used -= cap(buf)
	for class, size := range bufferSizes {
		if cap(buf) == size {
			if len(b.free[class])*size < keepBytes {
				b.free[class] = append(b.free[class], buf[:0])
			}
			return
		}
	}
}

// grow returns buf with room for n more bytes, moved to a larger class if need
// be.
func (b *buffers) grow(buf []byte, n int) []byte {
	if cap(buf)-len(buf) >= n {
		return buf
	}
	size := len(buf) + n
	if size > bufferSizes[len(bufferSizes)-1] {
		size = max(size, len(buf)+len(buf)/2) // else each small piece of a long body would have all before it moved
	}
	larger := append(b.take(size), buf...)
	b.give(buf)
	return larger
}

// queue is bytes in a pooled buffer, taken from the front. The zero value is
// empty and holds nothing.
type queue struct {
	buf []byte
	off int
}

func (q *queue) len() int      { return len(q.buf) - q.off }
func (q *queue) bytes() []byte { return q.buf[q.off:] }

// room makes room for n bytes behind what waits.
func (q *queue) room(b *buffers, n int) {
	if q.off > 0 && cap(q.buf)-len(q.buf) < n {
		k := copy(q.buf, q.buf[q.off:])
		q.buf, q.off = q.buf[:k], 0
	}
	q.buf = b.grow(q.buf, n)
}

// add appends p.
func (q *queue) add(b *buffers, p []byte) {
	q.room(b, len(p))
	q.buf = append(q.buf, p...)
}

// add2 appends two slices; either may be empty.
func (q *queue) add2(b *buffers, first, second []byte) {
	if len(first) > 0 {
		q.add(b, first)
	}
	if len(second) > 0 {
		q.add(b, second)
	}
}

// drop takes n bytes from the front; an empty queue gives its buffer back.
func (q *queue) drop(b *buffers, n int) {
	q.off += n
	if q.off == len(q.buf) {
		q.release(b)
	}
}

func (q *queue) release(b *buffers) {
	b.give(q.buf)
	*q = queue{}
}
