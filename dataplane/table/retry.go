package table

import "time"

// RetryOn is a set of what may be tried again.
type RetryOn uint8

// The members. Statuses are in Retry.Statuses.
const (
	RetryOnConnectFailure RetryOn = 1 << iota // no connection came about: nothing was sent
	RetryOnReset                              // a connection ended before a byte of the answer
	RetryOnTimeout                            // the attempt took longer than PerTry
	RetryOnRefusedStream                      // the endpoint says that it did nothing
)

// RetryStatuses is a set of the statuses from 400 to 599.
type RetryStatuses [4]uint64

// Add puts a status into the set; others than 400 to 599 are left out.
func (s *RetryStatuses) Add(status uint16) {
	if i := status - 400; i < 200 {
		s[i/64] |= 1 << (i % 64)
	}
}

// Has tells whether a status is in the set.
func (s *RetryStatuses) Has(status uint16) bool {
	i := status - 400 // below 400 it is a large number
	return i < 200 && s[i/64]&(1<<(i%64)) != 0
}

// Retry says which attempts are followed by another, and when. Most routes share
// one.
type Retry struct {
	Attempts      uint8 // of one exchange, with the first
	On            RetryOn
	NonIdempotent bool // requests that act twice when sent twice, too
	Statuses      RetryStatuses
	PerTry        time.Duration // from an attempt's begin to the answer's head; 0: no limit
	Backoff       time.Duration // the first wait is random up to it, each one up to twice the last, up to 10 times it
	Budget        uint32        // hundredths of a percent of the requests of the upstream that may be retries
	Buffer        int           // bytes of a body that are kept to be sent again
}
