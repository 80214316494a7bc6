package upstream

import (
	"sync/atomic"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// minRetries is how many retries of one upstream a node always allows at a time:
// with little traffic a share of it would be none (Envoy's min_retry_concurrency).
const minRetries = 3

// Upstream is the node-wide state of one upstream.
type Upstream struct {
	retries atomic.Int32 // under way, or waiting for their time
	_       [60]byte     // a cache line of its own
}

// Retries is the number of the node's retries under way, waiting ones included.
func (u *Upstream) Retries() int { return int(u.retries.Load()) }

// EndRetry ends what TryRetry began.
func (u *Upstream) EndRetry() { u.retries.Add(-1) }

// TryRetry begins a retry, unless there are so many of them as the budget allows:
// share, in hundredths of a percent, of the requests under way that are no
// retries, and always minRetries. Who got one calls EndRetry once.
//
// Retries are no part of what they are measured against. So when everything fails,
// and a retry with its wait takes no less time than a first attempt, the retries
// are no more than that share of the requests; measured against both, as Envoy
// does, a share of 20 % would become 25 %.
//
// The requests under way are added up here, over the endpoints, since a count of
// the whole upstream would cost every request two writes to memory that all loops
// share.
func (p *Picker) TryRetry(u *table.Upstream, share uint32) (retry interface{ EndRetry() }, ok bool) {
	state := p.registry.Upstream(u.Slot)
	for {
		n := state.retries.Load()
		if n >= minRetries && !p.allows(u, int64(n), int64(share)) {
			return nil, false
		}
		if state.retries.CompareAndSwap(n, n+1) {
			return state, true
		}
	}
}

// allows tells whether the requests under way at u, less its n retries, allow one
// retry more.
func (p *Picker) allows(u *table.Upstream, n, share int64) bool {
	const whole = 100 * 100
	requests := -n
	for i := range u.Endpoints {
		requests += int64(p.registry.Endpoint(u.Endpoints[i].Slot).InFlight())
		if (n+1)*whole <= requests*share {
			return true
		}
	}
	return false
}
