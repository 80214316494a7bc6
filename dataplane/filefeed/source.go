package filefeed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// source is a file of resources with those that it names.
type source struct {
	path   string
	seen   map[string]stamp // how each of them looked when it was read
	looked map[string]stamp // the same at the last look
}

// stamp is how a file looks from outside.
type stamp struct {
	size     int64
	modified time.Time
}

// Read makes the resources of a file, or says what is wrong with them.
func Read(path string) (tree.Tree, []resource.Problem, error) {
	s := source{path: path}
	return s.read()
}

// Decode is Read of a text that is in no file. Problems name it so; what it names is read
// beside the working directory.
func Decode(name string, text []byte) (tree.Tree, []resource.Problem, error) {
	s := source{path: name, seen: map[string]stamp{}, looked: map[string]stamp{}}
	return s.decode(text)
}

// Describe prints the problems of a file, one to a line, each with its place.
func Describe(path string, problems []resource.Problem) string {
	var b strings.Builder
	if len(problems) == 1 {
		fmt.Fprintf(&b, "1 problem in %s", path)
	} else {
		fmt.Fprintf(&b, "%d problems in %s", len(problems), path)
	}
	for _, p := range problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	return b.String()
}

// read reads the file and decodes it.
func (s *source) read() (next tree.Tree, problems []resource.Problem, err error) {
	text, seen, err := readWhole(s.path)
	if err != nil {
		return next, nil, err
	}
	s.seen, s.looked = map[string]stamp{s.path: seen}, map[string]stamp{s.path: seen}
	return s.decode(text)
}

// decode decodes the text of the file. One without a resource is refused: it was emptied
// in order to be written, or what writes it failed, and all listeners would close.
func (s *source) decode(text []byte) (next tree.Tree, problems []resource.Problem, err error) {
	text, problems = resource.InlineFiles(text, s.path, s.readBeside)
	if len(problems) > 0 {
		return next, problems, nil
	}
	docs, problems := resource.Decode(text, resource.DecodeOptions{File: s.path})
	problems = append(problems, resource.Dangling(docs, func(resource.Key) bool { return false })...)
	if len(docs) == 0 && len(problems) == 0 {
		problems = append(problems, resource.Problem{Got: "no resource", Expected: "at least one"})
	}
	if len(problems) > 0 {
		for i := range problems {
			problems[i].File = s.path
		}
		resource.SortProblems(problems)
		return next, problems, nil
	}
	for i := range docs {
		bytes, err := resource.Canonical(docs[i].Resource)
		if err != nil {
			return next, nil, err
		}
		next = next.Set(docs[i].Key, bytes)
	}
	return next, nil, nil
}

// readBeside reads a file that the resources name, beside theirs if its name is
// relative, and has it looked at from now on. Certificate and key are replaced
// one after the other: what is seen in between does not fit and changes nothing.
func (s *source) readBeside(name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(s.path), name)
	}
	s.seen[name], _ = look(name) // none: whatever comes is a change
	s.looked[name] = s.seen[name]
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, resource.MaxSize+1)) // one more is too many, as is told
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
	if text, err = io.ReadAll(f); err != nil {
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
// was read, and that all look as they did at the look before: who writes them in
// place is done, as far as can be told. The first half of a file is a configuration
// too, one without the rest. A file that is not there is waited for.
func (s *source) look() (changed, still bool) {
	still = true
	for path, seen := range s.seen {
		now, err := look(path)
		if err != nil {
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
