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
