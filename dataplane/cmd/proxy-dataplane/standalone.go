package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/admin"
	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

const (
	// stopGrace is what the engine gets beyond the drain timeout.
	stopGrace = 5 * time.Second
	// lookEvery is how often the file is looked at. Asking the file system works
	// where notifications do not: on network file systems, and for files that are
	// replaced through links.
	lookEvery = time.Second
)

// standalone keeps the node on the resources of a file.
type standalone struct {
	node *node
	path string
	asks chan struct{} // SIGHUP

	// owned by Run
	result *compile.Result
	seen   map[string]stamp // the file, and those that it names, as they were read
	looked map[string]stamp // the same as they were at the last look

	mu    sync.Mutex
	state admin.Status // guarded by mu
	tree  tree.Tree    // guarded by mu
}

// stamp is how a file looks from outside.
type stamp struct {
	size     int64
	modified time.Time
}

func newStandalone(n *node) *standalone {
	s := &standalone{node: n, path: n.options.resources, asks: make(chan struct{}, 1)}
	s.state = admin.Status{Source: s.path, Connected: true, Since: time.Now()}
	return s
}

// reload asks Run to read the file even if it looks the same.
func (s *standalone) reload() {
	select {
	case s.asks <- struct{}{}:
	default: // it is asked already
	}
}

func (s *standalone) status() admin.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *standalone) resources() tree.Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree
}

// check reads the file before anything is started: a node that cannot serve at
// all says so and ends.
func (s *standalone) check() error {
	next, problems, err := s.read()
	if err != nil {
		return settings.Usage("--resources: %v", err)
	}
	if len(problems) == 0 {
		_, problems = compile.Compile(s.node.permit, nil, next, table.Version{})
	}
	if len(problems) > 0 {
		return settings.Usage("--resources: %s", list(s.path, problems))
	}
	return nil
}

// list prints problems one to a line, each with its place.
func list(path string, problems []resource.Problem) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems in %s", len(problems), path)
	if len(problems) == 1 {
		b.Reset()
		fmt.Fprintf(&b, "1 problem in %s", path)
	}
	for _, p := range problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	return b.String()
}

// Run applies the file, and again whenever it changes, until ctx ends. What does
// not hold changes nothing and is logged.
func (s *standalone) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	retry := s.apply(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.asks:
			retry = s.apply(ctx)
		case <-ticker.C:
			if changed, still := s.look(); still && (changed || retry) {
				retry = s.apply(ctx)
			}
		}
	}
}

// look says that the file, or one that it names, looks different from the one that
// was read, and that all look as they did at the look before: who writes them in
// place is done, as far as can be told. The first half of a file is a configuration
// too, one without the rest. A file that is not there is waited for.
func (s *standalone) look() (changed, still bool) {
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

// read reads the file and decodes it.
func (s *standalone) read() (next tree.Tree, problems []resource.Problem, err error) {
	text, seen, err := readWhole(s.path)
	if err != nil {
		return next, nil, err
	}
	s.seen, s.looked = map[string]stamp{s.path: seen}, map[string]stamp{s.path: seen}
	return s.decode(text)
}

// decode decodes the text of the file. One without a resource is refused: it was emptied
// in order to be written, or what writes it failed, and all listeners would close.
func (s *standalone) decode(text []byte) (next tree.Tree, problems []resource.Problem, err error) {
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
func (s *standalone) readBeside(name string) ([]byte, error) {
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

// apply reads the file and makes it live. retry says that it may work later
// although the file stays the same.
func (s *standalone) apply(ctx context.Context) (retry bool) {
	next, problems, err := s.read()
	if err == nil && len(problems) == 0 {
		if s.result != nil && s.result.Tree.Root() == next.Root() {
			s.same()
			return false
		}
		revision := uint64(1)
		if s.result != nil {
			revision = s.result.Table.Version.Revision + 1
		}
		var result *compile.Result
		result, problems = compile.Compile(s.node.permit, s.result, next, table.Version{Epoch: 1, Revision: revision})
		if len(problems) == 0 {
			if err = s.node.apply(ctx, result.Table); err == nil {
				s.result = result
			}
			retry = err != nil
		}
	}
	s.note(next, problems, err)
	return retry
}

// same notes that the file says what is in force again.
func (s *standalone) same() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.Problems, s.state.LastError, s.state.Retrying = nil, "", false
}

// note remembers how reading went, for the admin endpoint and the log.
func (s *standalone) note(next tree.Tree, problems []resource.Problem, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.state.LastError
	refused := "resources are not in force; the last good ones stay"
	if s.result == nil {
		refused = "resources are not in force; nothing is served yet"
	}
	s.state.Problems, s.state.LastError, s.state.Retrying = problems, "", err != nil
	switch {
	case err != nil:
		if before != err.Error() { // retried every second: said once
			s.node.logger.Error(refused, "file", s.path, "error", err)
		}
		s.state.LastError = err.Error()
		return
	case len(problems) > 0:
		for _, p := range problems {
			s.node.logger.Error(refused, "problem", p.String())
		}
		return
	}
	v := s.result.Table.Version
	s.state.Running = api.Version{Epoch: v.Epoch, Revision: v.Revision, Digest: next.Root().String()}
	s.state.Wanted = s.state.Running
	s.state.AppliedAt = time.Now()
	s.tree = next
	s.node.logger.Info("resources in force", "file", s.path, "revision", v.Revision, "digest", next.Root().String()[:12], "resources", next.Len())
}
