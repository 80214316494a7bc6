//go:build linux

package evloop

import "testing"

// TestClientsCountAtOnceAndStreamsWhenTheTurnEnds: a limit must not be missed by a turn in
// which many clients come; how much a loop carries may be known a turn later.
func TestClientsCountAtOnceAndStreamsWhenTheTurnEnds(t *testing.T) {
	var c counts
	c.clientsChanged(2)
	c.coming.Add(1)
	if c.clients.Load() != 2 || c.weight() != 3 {
		t.Errorf("%d clients, weight %d", c.clients.Load(), c.weight())
	}
	c.subs += 5
	if c.weight() != 3 {
		t.Errorf("weight %d within the turn", c.weight())
	}
	c.publish(100)
	if c.weight() != 8 || c.bufferBytes.Load() != 100 {
		t.Errorf("weight %d, %d bytes after the turn", c.weight(), c.bufferBytes.Load())
	}
	if c.clientsChanged(-2); c.clients.Load() != 0 || c.weight() != 6 {
		t.Errorf("%d clients, weight %d at the end", c.clients.Load(), c.weight())
	}
}
