//go:build race

package stats

import "sync/atomic"

func add(p *uint64, n uint64) { atomic.StoreUint64(p, *p+n) }

func store32(p *uint32, v uint32) { atomic.StoreUint32(p, v) }
