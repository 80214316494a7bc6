package feed

import (
	"sync/atomic"
	"time"
)

// Counters are totals since the node started.
type Counters struct {
	Dials            uint64 // tries to reach a control plane
	Streams          uint64 // streams on which a control plane answered
	Updates          uint64 // whole updates received
	ConfigBytes      uint64 // canonical bytes of resources received
	Acks             uint64
	NacksPermanent   uint64
	NacksLocal       uint64
	NacksMismatch    uint64
	NacksHeld        uint64
	Retries          uint64        // own further tries to apply
	Prepared         uint64        // updates compiled
	PreparedDuration time.Duration // spent on building trees and compiling, in all
	PreparedLast     time.Duration // on the last one
}

type counters struct {
	dials, streams, updates, configBytes          atomic.Uint64
	acks, permanent, local, baseMismatch, retries atomic.Uint64
	held                                          atomic.Uint64
	preparedCount                                 atomic.Uint64
	preparedTotal, preparedLast                   atomic.Int64
}

func (c *counters) prepared(d time.Duration) {
	c.preparedCount.Add(1)
	c.preparedTotal.Add(int64(d))
	c.preparedLast.Store(int64(d))
}

// Counters are the totals so far.
func (f *Feed) Counters() Counters {
	c := &f.counts
	return Counters{
		Dials:            c.dials.Load(),
		Streams:          c.streams.Load(),
		Updates:          c.updates.Load(),
		ConfigBytes:      c.configBytes.Load(),
		Acks:             c.acks.Load(),
		NacksPermanent:   c.permanent.Load(),
		NacksLocal:       c.local.Load(),
		NacksMismatch:    c.baseMismatch.Load(),
		NacksHeld:        c.held.Load(),
		Retries:          c.retries.Load(),
		Prepared:         c.preparedCount.Load(),
		PreparedDuration: time.Duration(c.preparedTotal.Load()),
		PreparedLast:     time.Duration(c.preparedLast.Load()),
	}
}
