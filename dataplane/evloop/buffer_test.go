//go:build linux

package evloop

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestAQueueHoldsWhatWasAddedAndNotDropped whatever the sizes, and gives its memory back when
// it is empty.
func TestAQueueHoldsWhatWasAddedAndNotDropped(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var b buffers
	for range 40 {
		var q queue
		var want []byte
		for range 50 {
			if p := pattern(random.Uint64(), random.IntN(20<<10)); random.IntN(3) > 0 {
				want = append(want, p...)
				q.add(&b, p)
			} else if n := min(len(p), len(want)); n > 0 {
				want = want[n:]
				q.drop(&b, n)
			}
			if q.len() != len(want) || !bytes.Equal(q.bytes(), want) {
				t.Fatalf("%d bytes, not %d, or others", q.len(), len(want))
			}
			if len(want) == 0 && b.used != 0 {
				t.Fatalf("an empty queue holds %d bytes", b.used)
			}
		}
		if q.release(&b); b.used != 0 || q.len() != 0 {
			t.Fatalf("%d bytes are held at the end", b.used)
		}
	}
}

// TestALongBodyIsNotMovedWithEachSmallPiece that is added: of 1 MiB, as much as retry.buffer may
// keep, in chunks of some bytes that would hold the loop for seconds.
func TestALongBodyIsNotMovedWithEachSmallPiece(t *testing.T) {
	var b buffers
	var q queue
	piece := make([]byte, 64)
	moves := 0
	for before := 0; q.len() < 1<<20; {
		if q.add(&b, piece); cap(q.buf) != before {
			before = cap(q.buf)
			moves++
		}
	}
	if most := len(bufferSizes) + 5; moves > most || cap(q.buf) > 3<<19 || b.used != cap(q.buf) {
		t.Errorf("moved %d times, not %d at most; %d bytes are held, and %d counted", moves, most, cap(q.buf), b.used)
	}
}

// TestAClassOfBuffersKeepsSoMuch and leaves the rest to the garbage collector.
func TestAClassOfBuffersKeepsSoMuch(t *testing.T) {
	var b buffers
	for class, size := range bufferSizes {
		all := make([][]byte, keepBytes/size+10)
		for i := range all {
			all[i] = b.take(size)
		}
		for _, buf := range all {
			b.give(buf)
		}
		if kept := len(b.free[class]) * size; kept > keepBytes+size || kept < keepBytes-size {
			t.Errorf("of %d bytes each %d are kept", size, kept)
		}
		if b.used != 0 {
			t.Errorf("%d bytes are out", b.used)
		}
	}
}
