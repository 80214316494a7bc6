package lastgood

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/durable"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	fileName = "last-good"
	oldName  = "last-good.old"
	// magic begins a file; the byte after it is the format's version. In version 1
	// nothing is sealed: there were no secrets.
	magic   = "proxyfleet last good"
	version = 2
	// maxFile bounds what Load reads: as much as a feed takes from a stream.
	maxFile = 512 << 20
	// Pause is the least time between two writes: a burst of changes costs the
	// disk one file a second, and a crash at most the last second's.
	Pause = time.Second
	// retry is the pause after the disk took no file.
	retry = 10 * time.Second
)

// File keeps the last good configuration of one node in a directory.
type File struct {
	dir    string
	key    *seal.Key
	permit Permit // nil: there is nobody to be polite to
	logger *slog.Logger
	wake   wakeup.Signal

	mu      sync.Mutex
	latest  *table.Configuration // guarded by mu; nil: everything is written
	written time.Time            // guarded by mu; of the file on disk
	holds   string               // guarded by mu; what is on disk, see nameOf
	damaged bool                 // guarded by mu; the newest file was not believed
}

// Open makes the directory if need be. Two nodes must not share one. Secrets are
// sealed under key. A file is made while the permit is held; nil: there is none.
func Open(dir string, key *seal.Key, permit Permit, logger *slog.Logger) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	removeUnfinished(dir)
	return &File{dir: dir, key: key, permit: permit, logger: logger, wake: wakeup.NewSignal()}, nil
}

// unfinishedFor is how long a file of fleet state may take to be written.
const unfinishedFor = time.Minute

// removeUnfinished removes what processes left that were killed while they wrote: a
// node that is killed again and again would fill its disk. One that hands over to this
// one writes no configuration meanwhile, but maybe fleet state.
func removeUnfinished(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // whoever writes will tell
	}
	for _, e := range entries {
		name, _, unfinished := strings.Cut(e.Name(), ".")
		switch {
		case !unfinished || e.Name() == oldName:
			continue
		case name == fileName:
		case name == listName || name == drainedName || name == undrainedName || name == ticketsName:
			if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < unfinishedFor {
				continue
			}
		default:
			continue // of others
		}
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}

// Load reads the newest file that is whole. ok is false if there is none.
func (f *File) Load() (saved table.Configuration, ok bool) {
	for _, name := range []string{fileName, oldName} {
		path := filepath.Join(f.dir, name)
		saved, modified, err := f.read(path)
		switch {
		case err == nil:
			f.mu.Lock()
			f.written, f.holds = modified, nameOf(&saved)
			f.mu.Unlock()
			return saved, true
		case !errors.Is(err, fs.ErrNotExist):
			f.logger.Error("last known good: not believed", "file", path, "error", err)
			f.mu.Lock()
			f.damaged = f.damaged || name == fileName
			f.mu.Unlock()
		}
	}
	return table.Configuration{}, false
}

// Save hands over what came into force. It returns at once; of several only the
// newest is written.
func (f *File) Save(s table.Configuration) {
	f.mu.Lock()
	f.latest = &s
	f.mu.Unlock()
	f.wake.Send()
}

// Written is when the file on disk was written; zero: there is none.
func (f *File) Written() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Run writes until ctx ends; what is left is written then. A disk that takes no
// file is told, and asked again after a pause, by Wait, and at the end: another
// configuration may be long in coming, and until this one is on disk a node that is
// killed starts with the one before.
func (f *File) Run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			f.flush()
			return nil
		case <-f.wake:
		case <-again:
		}
		again = nil
		if !f.flush() {
			again = time.After(retry)
		}
		pause := time.NewTimer(Pause)
		select {
		case <-ctx.Done():
			pause.Stop()
			f.flush()
			return nil
		case <-pause.C:
		}
	}
}

// flush writes what is left, and reports whether nothing is.
func (f *File) flush() (done bool) {
	f.mu.Lock()
	s, holds := f.latest, f.holds
	f.latest = nil
	f.mu.Unlock()
	if s == nil || nameOf(s) == holds { // after a boot: the older file stays what it is
		return true
	}
	err := f.write(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		if f.latest == nil { // else there is a newer one
			f.latest = s
		}
		f.logger.Error("last known good: not written", "dir", f.dir, "error", err, "retry_in", retry)
		return false
	}
	f.written, f.holds, f.damaged = time.Now(), nameOf(s), false
	return true
}

// nameOf tells configurations apart.
func nameOf(s *table.Configuration) string {
	return fmt.Sprintf("%d.%d.%s", s.Version.Epoch, s.Version.Revision, s.Tree.Root())
}

// write puts a whole file in place of the one before, which it keeps. A damaged one does
// not take the place of the older one that is whole.
func (f *File) write(s *table.Configuration) error {
	if err := f.key.Keep(filepath.Join(f.dir, keyName)); err != nil {
		return err
	}
	f.mu.Lock()
	damaged := f.damaged
	f.mu.Unlock()
	return durable.Replace(filepath.Join(f.dir, fileName), f.encode(s), func() error {
		if damaged {
			return nil
		}
		err := os.Rename(filepath.Join(f.dir, fileName), filepath.Join(f.dir, oldName))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

func (f *File) read(path string) (table.Configuration, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return table.Configuration{}, time.Time{}, err
	}
	if info.Size() > maxFile {
		return table.Configuration{}, time.Time{}, fmt.Errorf("%d bytes, at most %d are read", info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return table.Configuration{}, time.Time{}, err
	}
	saved, err := f.decode(text)
	return saved, info.ModTime(), err
}
