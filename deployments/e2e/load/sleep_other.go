//go:build !linux

package load

import (
	"context"
	"time"
)

// sleeper sleeps as well as timers of the runtime do.
type sleeper struct{}

func newSleeper() sleeper { return sleeper{} }

func (sleeper) sleep(ctx context.Context, until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
