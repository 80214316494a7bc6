package permit

// Crowd shares a semaphore with others that are few. Permits go to whoever waited the
// longest, and a compile gives its permit back every half a millisecond: behind a thousand
// handshakes it would wait for all of them each time. So the crowd passes a gate: no more of
// it have or await a permit than there are permits, and the compile waits for these only.
type Crowd struct{ gate, permits Semaphore }

// NewCrowd makes a crowd before s.
func NewCrowd(s Semaphore) Crowd { return Crowd{gate: New(cap(s)), permits: s} }

// Acquire waits for a permit.
func (c Crowd) Acquire() {
	c.gate.Acquire()
	c.permits.Acquire()
}

// Release gives it back.
func (c Crowd) Release() {
	c.permits.Release()
	c.gate.Release()
}
