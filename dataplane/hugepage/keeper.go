package hugepage

import (
	"context"
	"errors"
	"log/slog"
	"runtime/metrics"
	"time"
)

// worthwhile is from how large a heap on huge pages are asked for: twice what the
// processor remembers of small ones.
const worthwhile = 16 << 20

// Permit is what a Keeper holds while it lets the kernel work.
type Permit interface {
	Acquire()
	Release()
}

// Keeper asks for huge pages when the heap has grown.
type Keeper struct {
	permit  Permit
	logger  *slog.Logger
	changed chan struct{} // of one: what is waited for is one look

	// owned by Run
	before uint64 // the heap's size when huge pages were asked for last
}

// New makes a keeper, which does nothing before Run.
func New(permit Permit, logger *slog.Logger) *Keeper {
	return &Keeper{permit: permit, logger: logger, changed: make(chan struct{}, 1)}
}

// Changed says that much of the heap may be new. It does not block.
func (k *Keeper) Changed() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// Run looks after each change, until ctx ends or the system says that it has no huge
// pages.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.changed:
		}
		if !k.grown(heapBytes()) {
			continue
		}
		begin := time.Now()
		n, err := k.collapse(ctx)
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			k.logger.Info("memory: no huge pages", "error", err)
			<-ctx.Done()
			return nil
		case err != nil:
			k.logger.Warn("memory: huge pages", "error", err)
		default:
			k.logger.Debug("memory: huge pages", "bytes", n, "took", time.Since(begin))
		}
	}
}

// grown says that a heap of so many bytes is worth another look: by a quarter, so
// that small changes of a large table cost nothing.
func (k *Keeper) grown(heap uint64) bool {
	if heap < worthwhile || heap < k.before+k.before/4 {
		k.before = min(k.before, heap) // it may shrink, and grow again
		return false
	}
	k.before = heap
	return true
}

func (k *Keeper) collapse(ctx context.Context) (int64, error) {
	k.permit.Acquire()
	defer k.permit.Release()
	return collapse(func() bool {
		k.permit.Release()
		k.permit.Acquire()
		return ctx.Err() == nil
	})
}

// heapBytes is what objects on the heap take, those that nobody needs any more
// included until they are collected.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
