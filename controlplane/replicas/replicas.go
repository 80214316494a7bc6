package replicas

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
)

const (
	// leaseTTL is for how long a control plane counts as there after it was last: shorter
	// than a node may be silent, and three times keepEvery.
	leaseTTL  = 10 * time.Second
	keepEvery = 3 * time.Second
	// lookEvery is how often is looked for what others tell when no watch says so; it is also
	// how it is known that nothing was missed.
	lookEvery = 3 * time.Second
	// tellEvery is the least time between two writes, and gather how long the first change
	// after quiet waits for those that come with it: answers of nodes mostly do.
	tellEvery = time.Second
	gather    = 50 * time.Millisecond
	// tellWithin is how long what changed of nodes may wait for etcd until the lease is not
	// kept any more. Package nodes reckons with it.
	tellWithin = 5 * time.Second
	// vipBytes is how many bytes of virtual IPs may be written in a second, on average, but
	// for vipsWithin: where a thousand nodes have a thousand of them all reports are 9 MB.
	vipBytes   = 256 << 10
	vipsWithin = 10 * time.Second
	// heardFor is for how long after the last other control plane was there others are told:
	// mostly it is being started again.
	heardFor = 10 * time.Minute
	// opTimeout bounds each question to etcd, and endTimeout the last one.
	opTimeout  = 3 * time.Second
	endTimeout = time.Second
	// retry is the pause after etcd did not answer.
	retry = time.Second
	// noticedAfter is how long something must fail until people are told.
	noticedAfter = 15 * time.Second
)

// Store is what control planes tell each other by. *store.Store is one; its errors are those
// of package store.
type Store interface {
	// Lease begins a lease, which lasts for ttl after it was kept last.
	Lease(ctx context.Context, ttl time.Duration) (lease int64, err error)
	// KeepLease and Tell give store.ErrNotFound if the lease has run out.
	KeepLease(ctx context.Context, lease int64) error
	EndLease(ctx context.Context, lease int64) error
	// Tell writes values by name, nil for none, and gives the revisions of those that it
	// wrote, also if it fails.
	Tell(ctx context.Context, lease int64, values map[string][]byte) (written map[string]int64, err error)
	// AllTold are the values of all, but those whose revision is known.
	AllTold(ctx context.Context, known map[string]int64) (map[string]store.Told, error)
	// WatchTold says "look again", coalesced, until ctx ends.
	WatchTold(ctx context.Context) <-chan struct{}
}

// Registry is what is known of the nodes. *nodes.Registry is one.
type Registry interface {
	ToTell() <-chan struct{}
	Untold() (themselves, vips []string)
	Here(asks func(id string) bool) []nodes.Here
	Hear(asOf time.Time, told map[string]nodes.Elsewhere)
}

// Config has what Replicas work with. Store, Nodes and Name are required.
type Config struct {
	Store Store
	Nodes Registry
	// Name is by what people know this control plane.
	Name   string
	Build  string
	Logger *slog.Logger     // nil: slog.Default()
	Now    func() time.Time // nil: time.Now
}

// Replicas tells other control planes of the nodes here, and the registry of those that
// others have.
type Replicas struct {
	// immutable
	c   Config
	log *slog.Logger
	me  string // random: the name of this process among control planes

	// owned by Run
	tells telling
	hears hearing

	shown shown
}

// shown is what Counters and Notices show.
type shown struct {
	mu       sync.Mutex
	counters Counters  // guarded by mu
	others   []Other   // guarded by mu
	leased   condition // guarded by mu
	told     condition // guarded by mu
	heard    condition // guarded by mu
}

// condition is whether something works.
type condition struct {
	failed time.Time // since when it does not; zero: it does
	err    error
}

// note takes note of an outcome, and reports whether it is another one than before.
func (c *condition) note(now time.Time, err error) (news bool) {
	if errors.Is(err, context.Canceled) { // this process ends
		return false
	}
	news = (err == nil) != c.failed.IsZero()
	switch {
	case err == nil:
		*c = condition{}
	case c.failed.IsZero():
		*c = condition{now, err}
	default:
		c.err = err
	}
	return news
}

// Counters are totals since the process started, and what is true at this moment.
type Counters struct {
	Others   int // other control planes, now
	Writes   uint64
	Bytes    uint64 // written
	Failures uint64 // of writes
	// Heard is when what others tell was read last; zero: never.
	Heard time.Time
}

// New starts nothing.
func New(c Config) *Replicas {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Replicas{c: c, log: c.Logger, me: rand.Text()}
	r.hears.planes = map[string]*plane{}
	return r
}

// Run tells and hears until ctx ends. Then others are told that this control plane is gone. It
// is called once.
func (r *Replicas) Run(ctx context.Context) error {
	events := r.c.Store.WatchTold(ctx)
	defer r.end(ctx)
	for {
		r.keep(ctx)
		r.look(ctx)
		r.write(ctx)
		timer := time.NewTimer(max(r.next().Sub(r.c.Now()), 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case _, ok := <-events:
			if !ok {
				events = nil // ctx has ended
			}
			r.hears.due = time.Time{}
		case <-r.c.Nodes.ToTell():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next is when there is something to do, if nothing happens.
func (r *Replicas) next() time.Time {
	next := r.tells.keepDue
	for _, due := range []time.Time{r.hears.due, r.tells.due(r.isHeard())} {
		if !due.IsZero() && due.Before(next) {
			next = due
		}
	}
	return next
}

// Counters are the totals so far.
func (r *Replicas) Counters() Counters {
	r.shown.mu.Lock()
	defer r.shown.mu.Unlock()
	return r.shown.counters
}

// Other is another control plane.
type Other struct{ Name, Build string }

// Others are the other control planes that are there, by name; none where nothing is heard of
// them for a while.
func (r *Replicas) Others() []Other {
	r.shown.mu.Lock()
	defer r.shown.mu.Unlock()
	if c := r.shown.heard; !c.failed.IsZero() && r.c.Now().Sub(c.failed) >= noticedAfter {
		return nil
	}
	return r.shown.others
}

// Notices are what people should know of how control planes hear of each other.
func (r *Replicas) Notices() (notices []string) {
	r.shown.mu.Lock()
	defer r.shown.mu.Unlock()
	now := r.c.Now()
	lasts := func(c condition) (time.Duration, bool) {
		d := now.Sub(c.failed)
		return d.Round(time.Second), !c.failed.IsZero() && d >= noticedAfter
	}
	for _, c := range []condition{r.shown.leased, r.shown.told} {
		if d, ok := lasts(c); ok {
			notices = append(notices, fmt.Sprintf("other control planes are not told of the nodes here for %s, and show them as disconnected: %v", d, c.err))
			break
		}
	}
	if d, ok := lasts(r.shown.heard); ok && r.shown.counters.Others > 0 {
		notices = append(notices, fmt.Sprintf("nothing is heard of other control planes for %s, and their nodes are shown as disconnected: %v", d, r.shown.heard.err))
	}
	return notices
}
