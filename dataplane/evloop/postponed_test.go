//go:build linux

package evloop

import "testing"

// TestAnAttemptIsPutOffWhileFramesAreHandled and only where a client of HTTP/2 asked for it.
func TestAnAttemptIsPutOffWhileFramesAreHandled(t *testing.T) {
	var ps postponed
	s := &stream{sub: new(sub)}
	if ps.add(s) {
		t.Error("put off while no frames are handled")
	}
	ps.on = true
	if ps.add(new(stream)) {
		t.Error("a request of HTTP/1.1 is put off")
	}
	if !ps.add(s) || !s.sub.waits || len(ps.subs) != 1 {
		t.Errorf("%d are put off", len(ps.subs))
	}
	ps.on, ps.doomed = false, true
	if ps.add(s) || !ps.add(new(stream)) || len(ps.subs) != 1 {
		t.Errorf("of a request of HTTP/1.1 that ends at once: %d are put off", len(ps.subs))
	}
}

// TestWhatIsPutOffBeginsBehindTheFramesOfItsTurn, or of the next one where more is at hand of a client
// whose requests are being reset.
func TestWhatIsPutOffBeginsBehindTheFramesOfItsTurn(t *testing.T) {
	l := startedLoop(t)
	m := new(mux)
	turn := func(resets int, more bool) *sub {
		b := &sub{of: m, waits: true}
		b.tag = m.subs.add(b)
		l.resets = resets
		l.postponed.subs = append(l.postponed.subs, b)
		l.startPostponed(m, more)
		return b
	}
	for _, c := range []struct {
		resets int
		more   bool
		late   bool
	}{
		{0, false, false},
		{0, true, false},
		{1, false, false},
		{1, true, true},
	} {
		if b := turn(c.resets, c.more); b.waits != c.late || m.late != c.late || len(l.postponed.subs) > 0 {
			t.Errorf("%+v: it waits: %t, some do: %t", c, b.waits, m.late)
		}
	}
	one := turn(1, true)
	if two := turn(1, true); one.waits || !two.waits {
		t.Errorf("of this turn and the one before, with more at hand: the first waits %t, the second %t", one.waits, two.waits)
	}
}
