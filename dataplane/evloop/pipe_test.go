//go:build linux

package evloop

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAPipeCountsItsDescriptorsAndIsClosedUnlessItIsEmpty: the bytes of one client must not
// reach another.
func TestAPipeCountsItsDescriptorsAndIsClosedUnlessItIsEmpty(t *testing.T) {
	var count atomic.Int64
	p := pipe{descriptors: &count}
	if p.close(); count.Load() != 0 {
		t.Errorf("%d descriptors of a pipe that was never open", count.Load())
	}
	if !p.mayBegin(1) || !p.begin(1) || count.Load() != 2 {
		t.Fatalf("%d descriptors", count.Load())
	}
	if p.mayBegin(2) || !p.mayBegin(1+pipePause) {
		t.Error("another one may be asked for at once, or never")
	}
	if p.settle(); !p.open {
		t.Error("an empty pipe is closed")
	}
	if _, err := unix.Write(p.w, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	p.inside = len("secret")
	if p.settle(); p.open || count.Load() != 0 || !p.mayBegin(2) {
		t.Errorf("open %t, %d descriptors", p.open, count.Load())
	}
}
