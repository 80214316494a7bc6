package filefeed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/input"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// source is a file of resources with those that it names.
type source struct {
	path   string
	seen   map[string]stamp // how each of them looked when it was read
	looked map[string]stamp // the same at the last look
	gone   string           // one that was read and not found by the last look, or ""
}

// stamp is how a file looks from outside.
type stamp struct {
	size     int64
	modified time.Time
}

// read reads the file and decodes it.
func (s *source) read() (d Decoded, problems []resource.Problem, err error) {
	text, seen, err := readWhole(s.path)
	if err != nil {
		return d, nil, err
	}
	s.seen, s.looked = map[string]stamp{s.path: seen}, map[string]stamp{s.path: seen}
	return decode([]Text{{s.path, text}}, func(_, name string) ([]byte, error) { return s.readBeside(name) })
}

// readBeside reads a file that the resources name, beside theirs if its name is
// relative, and has it looked at from now on. Certificate and key are replaced
// one after the other: what is seen in between does not fit and changes nothing.
func (s *source) readBeside(name string) ([]byte, error) {
	name = input.Beside(s.path, name)
	s.seen[name], _ = look(name) // none: whatever comes is a change
	s.looked[name] = s.seen[name]
	return input.Read(name, resource.MaxSize+1) // one more is too many, as is told
}

// readWhole reads a file, and fails if it is written meanwhile. The stamp is the
// one of before, so that a write after that is seen as a change.
func readWhole(path string) (text []byte, seen stamp, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, seen, fmt.Errorf("%s: no such file", path)
	}
	if err != nil {
		return nil, seen, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, seen, err
	}
	if text, err = io.ReadAll(io.LimitReader(f, MaxText+1)); err != nil { // it may be a device that never ends
		return nil, seen, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, seen, err
	}
	if before.Mode().IsRegular() && stampOf(before) != stampOf(after) { // a pipe's changes
		return nil, seen, fmt.Errorf("%s: it was written while it was read", path)
	}
	return text, stampOf(before), nil
}

// look says that the file, or one that it names, looks different from the one that
// was read, and that all look as they did at the look before: whoever writes them in
// place is done, as far as can be told. The first half of a file is a configuration
// too, one without the rest. A file that is not there is waited for.
func (s *source) look() (changed, still bool) {
	still, s.gone = true, ""
	for path, seen := range s.seen {
		now, err := look(path)
		if err != nil {
			if seen != (stamp{}) && (s.gone == "" || path < s.gone) {
				s.gone = path
			}
			continue
		}
		changed = changed || now != seen
		still = still && now == s.looked[path]
		s.looked[path] = now
	}
	return changed, still
}

func look(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, err
	}
	return stampOf(info), nil
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }
