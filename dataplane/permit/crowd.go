package permit

// Crowd shares a semaphore with others that are few. Permits go to who waited the
// longest, so a thousand handshakes would have a configuration that is compiled in
// slices wait a thousand handshakes long for each of them. Of a crowd no more wait
// for a permit at once than there are permits, the rest before a gate: who comes
// besides them gets every second one.
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
