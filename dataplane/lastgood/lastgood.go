package lastgood

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	fileName = "last-good"
	oldName  = "last-good.old"
	// magic begins a file; its last byte is the format's version.
	magic = "proxyfleet last good\x01"
	// maxFile bounds what Load reads: as much as a feed takes from a stream.
	maxFile = 512 << 20
	// Pause is the least time between two writes: a burst of changes costs the
	// disk one file a second, and a crash at most the last second's.
	Pause = time.Second
)

// Saved is a configuration that was in force.
type Saved struct {
	Version table.Version
	Tree    tree.Tree
}

// File keeps the last good configuration of one node in a directory.
type File struct {
	dir    string
	logger *slog.Logger
	wake   chan struct{}

	mu      sync.Mutex
	latest  *Saved    // guarded by mu; nil: everything is written
	written time.Time // guarded by mu; of the file on disk
	holds   string    // guarded by mu; what is on disk, see name
}

// Open makes the directory if need be. Two nodes must not share one.
func Open(dir string, logger *slog.Logger) (*File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return &File{dir: dir, logger: logger, wake: make(chan struct{}, 1)}, nil
}

// Load reads the newest file that is whole. ok is false if there is none.
func (f *File) Load() (saved Saved, ok bool) {
	for _, name := range []string{fileName, oldName} {
		path := filepath.Join(f.dir, name)
		saved, modified, err := read(path)
		switch {
		case err == nil:
			f.mu.Lock()
			f.written, f.holds = modified, saved.name()
			f.mu.Unlock()
			return saved, true
		case !errors.Is(err, fs.ErrNotExist):
			f.logger.Error("last known good: not believed", "file", path, "error", err)
		}
	}
	return Saved{}, false
}

// Save hands over what came into force. It returns at once; of several only the
// newest is written.
func (f *File) Save(s Saved) {
	f.mu.Lock()
	f.latest = &s
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default: // the writer knows already
	}
}

// Written is when the file on disk was written; zero: there is none.
func (f *File) Written() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written
}

// Run writes until ctx ends; what is left is written then. A disk that takes no
// file is told, and asked again with the next configuration.
func (f *File) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			f.flush()
			return nil
		case <-f.wake:
		}
		f.flush()
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

func (f *File) flush() {
	f.mu.Lock()
	s, holds := f.latest, f.holds
	f.latest = nil
	f.mu.Unlock()
	if s == nil || s.name() == holds { // after a boot: the older file stays what it is
		return
	}
	if err := f.write(s); err != nil {
		f.logger.Error("last known good: not written", "dir", f.dir, "error", err)
		return
	}
	f.mu.Lock()
	f.written, f.holds = time.Now(), s.name()
	f.mu.Unlock()
}

// name tells configurations apart.
func (s *Saved) name() string {
	return fmt.Sprintf("%d.%d.%s", s.Version.Epoch, s.Version.Revision, s.Tree.Root())
}

// write puts a whole file in place of the one before, which it keeps.
func (f *File) write(s *Saved) error {
	return replace(f.dir, fileName, encode(s), func() error {
		err := os.Rename(filepath.Join(f.dir, fileName), filepath.Join(f.dir, oldName))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// replace puts a file in place of the one of that name, whole or not at all. before
// is called when only that is left to do.
func replace(dir, name string, text []byte, before func() error) error {
	temporary, err := os.CreateTemp(dir, name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // after the rename there is nothing to remove
	_, err = temporary.Write(text)
	if err == nil {
		err = temporary.Sync()
	}
	if closed := temporary.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = before()
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// encode is magic, checksum of the rest, epoch, revision, root, and the canonical
// bytes of each resource behind their length.
func encode(s *Saved) []byte {
	var b bytes.Buffer
	b.WriteString(magic)
	b.Write(make([]byte, sha256.Size))
	var number [8]byte
	put := func(v uint64) {
		binary.BigEndian.PutUint64(number[:], v)
		b.Write(number[:])
	}
	put(s.Version.Epoch)
	put(s.Version.Revision)
	root := s.Tree.Root()
	b.Write(root[:])
	put(uint64(s.Tree.Len()))
	for leaf := range s.Tree.All() {
		put(uint64(len(leaf.Bytes)))
		b.Write(leaf.Bytes)
	}
	out := b.Bytes()
	sum := sha256.Sum256(out[len(magic)+sha256.Size:])
	copy(out[len(magic):], sum[:])
	return out
}

func read(path string) (Saved, time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Saved{}, time.Time{}, err
	}
	if info.Size() > maxFile {
		return Saved{}, time.Time{}, fmt.Errorf("%d bytes, at most %d are read", info.Size(), maxFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return Saved{}, time.Time{}, err
	}
	saved, err := decode(text)
	return saved, info.ModTime(), err
}

var errDamaged = errors.New("the file is damaged")

func decode(text []byte) (Saved, error) {
	const head = len(magic) + sha256.Size
	if len(text) < head || string(text[:len(magic)]) != magic {
		return Saved{}, fmt.Errorf("%w: it does not begin as one of this version", errDamaged)
	}
	rest := text[head:]
	if sum := sha256.Sum256(rest); !bytes.Equal(sum[:], text[len(magic):head]) {
		return Saved{}, fmt.Errorf("%w: the checksum does not hold", errDamaged)
	}
	number := func() (v uint64, ok bool) {
		if len(rest) < 8 {
			return 0, false
		}
		v, rest = binary.BigEndian.Uint64(rest), rest[8:]
		return v, true
	}
	var s Saved
	var root tree.Hash
	epoch, _ := number()
	revision, ok := number()
	if !ok || len(rest) < len(root) {
		return Saved{}, errDamaged
	}
	s.Version = table.Version{Epoch: epoch, Revision: revision}
	rest = rest[copy(root[:], rest):]
	count, ok := number()
	if !ok {
		return Saved{}, errDamaged
	}
	for range count {
		size, ok := number()
		if !ok || size > uint64(len(rest)) {
			return Saved{}, errDamaged
		}
		canonical := rest[:size:size]
		rest = rest[size:]
		r, err := resource.Parse(canonical)
		if err != nil {
			return Saved{}, err
		}
		s.Tree = s.Tree.Set(resource.KeyOf(r), canonical)
	}
	if len(rest) > 0 || s.Tree.Root() != root {
		return Saved{}, fmt.Errorf("%w: the resources do not have the root that it names", errDamaged)
	}
	return s, nil
}
