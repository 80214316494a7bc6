// Package permittest has a permit that tests look at.
package permittest

import "testing"

// Counting is a permit of one goroutine's. It fails its test when it is taken twice, or given
// back and was not taken.
type Counting struct {
	T     testing.TB
	Held  bool
	Times int // that it was taken
}

// Acquire takes it.
func (c *Counting) Acquire() {
	c.T.Helper()
	if c.Held {
		c.T.Error("the permit is taken twice")
	}
	c.Held = true
	c.Times++
}

// Release gives it back.
func (c *Counting) Release() {
	c.T.Helper()
	if !c.Held {
		c.T.Error("a permit is given back that was not taken")
	}
	c.Held = false
}
