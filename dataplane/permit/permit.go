// Package permit rations the processor between event loops and everything else.
//
// A Go process runs at most GOMAXPROCS goroutines at once. Loops take theirs; if
// more others want to compute than are left, the scheduler makes loops wait in
// line for milliseconds. So whatever burns processor time outside a loop
// (compiling, handshakes, compression) holds a permit while it computes, and
// never while it waits.
package permit

// Semaphore has as many permits as may compute beside the loops.
type Semaphore chan struct{}

// New makes a semaphore of n permits, at least one.
func New(n int) Semaphore { return make(Semaphore, max(n, 1)) }

// Acquire waits for a permit.
func (s Semaphore) Acquire() { s <- struct{}{} }

// Release gives it back.
func (s Semaphore) Release() { <-s }
