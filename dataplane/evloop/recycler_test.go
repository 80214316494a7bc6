//go:build linux

package evloop

import "testing"

// TestWhatEndedIsUsedAgainInTheNextTurn and not before: somebody up the stack may still look
// at it. What it referred to is let go of; a link keeps its number, and a sub its memory.
func TestWhatEndedIsUsedAgainInTheNextTurn(t *testing.T) {
	var old recyclers
	d, k, b := old.downs.take(), &link{index: 7}, old.subs.take()
	d.link, b.lines = k, make([]byte, 0, 100)
	old.downs.give(d)
	old.links.give(k)
	old.subs.give(b)
	if old.downs.take() == d || old.links.reuse() != nil || old.subs.take() == b || d.link != k {
		t.Error("something is used again in the turn in which it ended")
	}
	old.turn()
	if old.downs.take() != d || d.link != nil {
		t.Error("the client's connection is not used again, or still has its link")
	}
	if old.links.reuse() != k || k.index != 7 {
		t.Error("the link is not used again, or has lost its number")
	}
	if old.subs.take() != b || cap(b.lines) != 100 {
		t.Error("the sub is not used again, or has lost its memory")
	}
}
