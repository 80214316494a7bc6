package filefeed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// lookEvery is how often the files are looked at. Asking the file system works where
// notifications do not: on network file systems, and for files that are replaced
// through links.
const lookEvery = time.Second

// Config says which file, and what becomes of it. Path and Apply are required.
type Config struct {
	Path string
	// Apply puts a table into force. An error leaves the old one in force; the feed
	// tries again at each look. It is called by one goroutine at a time.
	Apply func(ctx context.Context, next *table.Table) error
	// Permit rations the processor between loops and compiling; nil: no limit.
	Permit compile.Permit
	Logger *slog.Logger // nil: slog.Default()
}

// State is how the file stands, for the admin endpoint.
type State struct {
	Path      string
	Since     time.Time           // from when on the file is followed
	Running   table.Configuration // zero: nothing is in force
	AppliedAt time.Time           // when Running came into force
	// Problems or LastError are why the file, as it is, is not in force.
	Problems  []resource.Problem
	LastError string
	Retrying  bool // although the file stays the same
}

// Feed is what keeps a node on a file.
type Feed struct {
	// immutable
	c    Config
	log  *slog.Logger
	asks wakeup.Signal // Reload was called

	// owned by Run
	source   source
	result   *compile.Result // nil: nothing runs
	missed   string          // what the look before did not find, or ""
	toldGone bool            // that something is gone

	mu    sync.Mutex
	state State // guarded by mu
}

// New starts nothing.
func New(c Config) *Feed {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Feed{
		c: c, log: c.Logger, asks: wakeup.NewSignal(), source: source{path: c.Path},
		state: State{Path: c.Path, Since: time.Now()},
	}
}

// State is a copy of how the file stands.
func (f *Feed) State() State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// Resources are those in force.
func (f *Feed) Resources() tree.Tree { return f.State().Running.Tree }

// Reload asks Run to read the file even if it looks the same.
func (f *Feed) Reload() { f.asks.Send() }

// Check reads the file before anything is started: a node that cannot serve at
// all says so and ends.
func (f *Feed) Check() error {
	next, problems, err := f.source.read()
	if err != nil {
		return err
	}
	if len(problems) == 0 {
		_, problems = compile.Compile(f.c.Permit, nil, next.Tree, table.Version{})
	}
	if len(problems) > 0 {
		problems = next.Locate(problems)
		return errors.New(Describe(f.c.Path, problems))
	}
	return nil
}

// Run applies the file, and again whenever it changes, until ctx ends. What does
// not hold changes nothing and is logged.
func (f *Feed) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	retry := f.apply(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.asks:
			retry = f.apply(ctx)
		case <-ticker.C:
			changed, still := f.source.look()
			f.noticeGone()
			if still && (changed || retry) {
				retry = f.apply(ctx)
			}
		}
	}
}

// noticeGone tells of a file that two looks in a row did not find: one may come between
// the two moves of whoever replaces it. The node goes on, and would not start again.
func (f *Feed) noticeGone() {
	gone := f.source.gone
	switch {
	case gone != "" && gone == f.missed && !f.toldGone:
		f.toldGone = true
		f.log.Warn("a file is gone: what it said stays in force while the node runs", "file", gone)
	case gone == "" && f.toldGone:
		f.toldGone = false
		f.log.Info("no file is missing any more", "file", f.c.Path)
	}
	f.missed = gone
}

// apply reads the file and makes it live. retry says that it may work later
// although the file stays the same.
func (f *Feed) apply(ctx context.Context) (retry bool) {
	next, problems, err := f.source.read()
	if err == nil && len(problems) == 0 {
		if f.result != nil && f.result.Tree.Root() == next.Tree.Root() {
			f.same()
			return false
		}
		revision := uint64(1)
		if f.result != nil {
			revision = f.result.Table.Version.Revision + 1
		}
		var result *compile.Result
		result, problems = compile.Compile(f.c.Permit, f.result, next.Tree, table.Version{Epoch: 1, Revision: revision})
		if len(problems) == 0 {
			if err = f.c.Apply(ctx, result.Table); err == nil {
				f.result = result
			}
			retry = err != nil
		}
	}
	f.note(next.Tree, next.Locate(problems), err)
	return retry
}

// same notes that the file says what is in force again.
func (f *Feed) same() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.state.Problems) > 0 || f.state.LastError != "" {
		f.log.Info("the file says again what is in force", "file", f.c.Path, "revision", f.state.Running.Version.Revision)
	}
	f.state.Problems, f.state.LastError, f.state.Retrying = nil, "", false
}

// note remembers how reading went, for the admin endpoint and the log.
func (f *Feed) note(next tree.Tree, problems []resource.Problem, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.state.LastError
	refused := "resources are not in force; the last good ones stay"
	if f.result == nil {
		refused = "resources are not in force; nothing is served yet"
	}
	f.state.Problems, f.state.LastError, f.state.Retrying = problems, "", err != nil
	switch {
	case err != nil:
		if before != err.Error() { // retried every second: said once
			f.log.Error(refused, "file", f.c.Path, "error", err)
		}
		f.state.LastError = err.Error()
		return
	case len(problems) > 0:
		for _, p := range problems {
			f.log.Error(refused, "problem", p.String())
		}
		return
	}
	v := f.result.Table.Version
	f.state.Running, f.state.AppliedAt = table.Configuration{Version: v, Tree: next}, time.Now()
	f.log.Info("resources in force", "file", f.c.Path, "revision", v.Revision, "digest", next.Root().String()[:12], "resources", next.Len())
}
