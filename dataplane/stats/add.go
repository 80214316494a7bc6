//go:build !race

package stats

// add adds to a counter that only the caller writes and others read by
// atomic.LoadUint64.
//
// It is a plain store: atomic.StoreUint64 is XCHG on amd64, which is locked and
// costs some 20 cycles; a request has about twenty of these. Readers see whole
// values all the same: the Go memory model promises that a word-sized read sees
// a value that was written, and every platform we build for has 64-bit words.
// Under the race detector the atomic form is compiled, which the detector can
// follow.
func add(p *uint64, n uint64) { *p += n }

func store32(p *uint32, v uint32) { *p = v }
