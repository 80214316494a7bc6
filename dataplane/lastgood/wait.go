package lastgood

import (
	"context"
	"fmt"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// lookEvery is how often Wait looks: often against Pause.
const lookEvery = 5 * time.Millisecond

// Wait waits until s, which was handed to Save, is what the file holds.
func (f *File) Wait(ctx context.Context, s table.Configuration) error {
	select {
	case f.wake <- struct{}{}: // the disk may have had no room
	default:
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for want := nameOf(&s); ; {
		f.mu.Lock()
		holds := f.holds
		f.mu.Unlock()
		if holds == want {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("last known good configuration: %d.%d is not on disk: %w", s.Version.Epoch, s.Version.Revision, ctx.Err())
		}
	}
}
