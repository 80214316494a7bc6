package publish

import (
	"sync/atomic"
	"time"
)

// Counters are totals since the process started.
type Counters struct {
	Published      uint64 // versions that became wanted
	Unpublishable  uint64 // heads that do not compile here
	Checks         uint64 // candidates
	Compiled       uint64 // compilations that ran
	Cached         uint64 // compilations saved by a kept result
	BasesLoaded    uint64 // trees loaded from the history
	Contradictions uint64 // versions that this store never made
	// Latency is from the event to the version being wanted.
	Latency LatencySnapshot
}

type counters struct {
	published, unpublishable, checks, basesLoaded, contradictions atomic.Uint64

	latency Latency
}

// Counters are the totals so far.
func (p *Publisher) Counters() Counters {
	return Counters{
		Published:      p.counts.published.Load(),
		Unpublishable:  p.counts.unpublishable.Load(),
		Checks:         p.counts.checks.Load(),
		Compiled:       p.compiler.ran.Load(),
		Cached:         p.compiler.cached.Load(),
		BasesLoaded:    p.counts.basesLoaded.Load(),
		Contradictions: p.counts.contradictions.Load(),
		Latency:        p.counts.latency.Snapshot(),
	}
}

// latencyBuckets is how many bounds a Latency has: 250 µs doubled 15 times, up
// to 8 s.
const latencyBuckets = 16

// Latency is a histogram of durations. It is safe for concurrent use; the zero
// value is ready.
type Latency struct {
	buckets [latencyBuckets + 1]atomic.Uint64
	sum     atomic.Int64
}

// Observe adds one duration.
func (l *Latency) Observe(d time.Duration) {
	i := 0
	for i < latencyBuckets && d > LatencyBound(i) {
		i++
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}

// LatencyBound is the upper bound of a bucket.
func LatencyBound(i int) time.Duration { return 250 * time.Microsecond << i }

// LatencySnapshot is a Latency at one moment, as Prometheus wants histograms.
type LatencySnapshot struct {
	// Buckets counts observations up to each bound, cumulatively.
	Buckets map[time.Duration]uint64
	Count   uint64
	Sum     time.Duration
}

// Snapshot is the histogram so far.
func (l *Latency) Snapshot() LatencySnapshot {
	s := LatencySnapshot{Buckets: make(map[time.Duration]uint64, latencyBuckets), Sum: time.Duration(l.sum.Load())}
	for i := range l.buckets {
		s.Count += l.buckets[i].Load()
		if i < latencyBuckets {
			s.Buckets[LatencyBound(i)] = s.Count
		}
	}
	return s
}
