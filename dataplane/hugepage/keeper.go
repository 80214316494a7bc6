package hugepage

import (
	"context"
	"errors"
	"log/slog"
	"runtime/metrics"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// worthwhile is from how large a heap on huge pages are asked for: twice what the
// processor remembers of small ones.
const worthwhile = 16 << 20

// calm is for how long nothing may change before huge pages are asked for: the kernel
// may have to move memory to make one, and a change would wait for that. Asked at once,
// one changed route among 10,000 was live after 17 to 42 ms at p99 rather than after 12
// to 17, and once after 282.
const calm = 10 * time.Second

// Permit is what a Keeper holds while it lets the kernel work.
type Permit interface {
	Acquire()
	Release()
}

// Keeper asks for huge pages when the heap has grown.
type Keeper struct {
	permit  Permit
	logger  *slog.Logger
	changed wakeup.Signal

	// owned by Run
	before uint64 // the heap's size when huge pages were asked for last
}

// New makes a keeper, which does nothing before Run.
func New(permit Permit, logger *slog.Logger) *Keeper {
	return &Keeper{permit: permit, logger: logger, changed: wakeup.NewSignal()}
}

// Changed says that much of the heap may be new. It does not block.
func (k *Keeper) Changed() { k.changed.Send() }

// Run looks when nothing has changed for a while, until ctx ends or the system says
// that it has no huge pages.
func (k *Keeper) Run(ctx context.Context) error {
	for k.calmed(ctx) {
		if !k.grown(liveBytes()) {
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
	return nil
}

// calmed waits for a change, and until none has come for a while; false: ctx ended.
func (k *Keeper) calmed(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-k.changed:
	}
	timer := time.NewTimer(calm)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-k.changed:
			timer.Reset(calm)
		case <-timer.C:
			return true
		}
	}
}

// grown says that a heap of so many bytes is worth another look: by a quarter, so
// that small changes of a large table cost nothing.
func (k *Keeper) grown(heap uint64) bool {
	if heap < worthwhile || heap < k.before+k.before/4 {
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

// liveBytes is what the last collection left on the heap.
func liveBytes() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
