package lastgood

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// lookEvery is how often Wait looks: often against Pause.
const lookEvery = 5 * time.Millisecond

// Wait waits until s, which was handed to Save, is what the file holds. A file that was
// deleted under the node is written anew.
func (f *File) Wait(ctx context.Context, s table.Configuration) error {
	if f.gone() {
		f.mu.Lock()
		if f.holds == nameOf(&s) && f.latest == nil {
			f.holds, f.latest = "", &s
		}
		f.mu.Unlock()
	}
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

// gone reports whether the file was deleted, or the key under which it is sealed.
func (f *File) gone() bool {
	for _, name := range []string{fileName, keyName} {
		if _, err := os.Lstat(filepath.Join(f.dir, name)); errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}
