//go:build linux

package evloop

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/poll"
)

// TestAFullBoxRefusesMailAndNotesAHint: what is refused is its sender's to look after, a
// hint has no sender who would.
func TestAFullBoxRefusesMailAndNotesAHint(t *testing.T) {
	p, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b := newMailbox(p)
	for i := range mailboxSize {
		if !b.post(mail{kind: mailPlaceFree, slot: uint32(i)}) {
			t.Fatalf("letter %d is refused", i)
		}
	}
	if b.post(mail{kind: mailStop}) || b.missed.Load() {
		t.Error("a full box takes mail, or a hint is noted that nobody gave")
	}
	if b.hint(mail{kind: mailPlaceFree}); !b.missed.Load() || len(b.box) != mailboxSize {
		t.Errorf("a hint is noted: %t, and %d letters wait", b.missed.Load(), len(b.box))
	}
	if m := <-b.box; m.slot != 0 {
		t.Errorf("the first letter is that of %d", m.slot)
	}
}
