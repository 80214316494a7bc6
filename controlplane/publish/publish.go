package publish

import (
	"context"
	"crypto/x509"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/dataplane/explain"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// minInterval is the least time between two publications: a burst of writes
	// becomes 200 versions a second at most, and one write waits for nothing.
	minInterval = 5 * time.Millisecond
	// retryInterval is the pause after the store could not be read.
	retryInterval = 500 * time.Millisecond
	// lookTimeout is how long somebody who asks waits for a look at the head.
	lookTimeout = time.Second
	// keptVersions are kept as bases of deltas; a node that is further behind
	// gets the whole configuration.
	keptVersions = 16
)

// Store is what the publisher needs of the store. Errors are the store's own.
type Store interface {
	// Current is the head, read linearizably.
	Current(ctx context.Context) (store.Configuration, error)
	// Watch says "look again", coalesced, until ctx ends.
	Watch(ctx context.Context) <-chan struct{}
	// History gives changes with a revision below before (0: no bound), newest first.
	History(ctx context.Context, before uint64, limit int) ([]*fleetv1.Change, error)
	// At is the configuration as of a revision.
	At(ctx context.Context, revision uint64) (store.Configuration, *fleetv1.Change, error)
}

// Epochs makes a new epoch above seen, unless the one in force is so already, and
// returns the one in force. It is asked when a node proves that the store is not
// the one that the node got its version from. *store.Store is one.
type Epochs interface {
	NewEpoch(ctx context.Context, seen uint64) (uint64, error)
}

// Config has what a Publisher works with. Store is required.
type Config struct {
	Store Store
	// Epochs is asked for a new epoch; nil: contradictions are only counted,
	// logged and returned.
	Epochs Epochs
	Logger *slog.Logger     // nil: slog.Default()
	Now    func() time.Time // nil: time.Now
}

// Published is a version that is wanted, with its content.
type Published struct {
	tree.Version
	Tree tree.Tree
	At   time.Time // when it became wanted
	// Accepted: somebody accepted its epoch, so that nodes take it whatever they
	// lose by it.
	Accepted bool
}

// Publisher decides which version is wanted.
type Publisher struct {
	// immutable
	c        Config
	log      *slog.Logger
	kick     wakeup.Signal
	compiler compiler
	counts   counters

	// refreshing holds a token while somebody reads the head: see lock.
	refreshing chan struct{}
	pastRead   bool      // loadHistory has done its work; owned by who has that token
	news       bell.Bell // of what is wanted

	// guarded by mu
	mu          sync.Mutex
	wanted      Published
	kept        []*kept        // newest first, at most keptVersions
	agreed      []tree.Version // oldest first, at most maxAgreed: see knows
	unpublished *Unpublished
	read        time.Time // when the head was read last; zero: it was not
}

// Unpublished is a head that does not compile in this build.
type Unpublished struct {
	Version  tree.Version
	Problems []resource.Problem
	Since    time.Time
}

// New starts nothing; nothing is wanted until Run has read the head.
func New(c Config) *Publisher {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	p := &Publisher{
		c: c, log: c.Logger,
		kick:       wakeup.NewSignal(),
		refreshing: make(chan struct{}, 1),
	}
	p.compiler.init()
	return p
}

// Run follows the head of the store until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	events := p.c.Store.Watch(ctx)
	p.Kick() // the first look waits for nothing
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-events:
			if !ok {
				// Only the end of ctx closes it, but a closed channel must
				// never spin.
				events = nil
			}
		case <-p.kick:
		}
		pause := minInterval
		if err := p.Refresh(ctx); err != nil && ctx.Err() == nil {
			p.log.Warn("publish: head not read", "error", err, "retry_in", retryInterval)
			pause = retryInterval
			p.Kick()
		}
		if !wakeup.After(ctx, pause) {
			return nil
		}
	}
}

// Kick makes Run look at the head without waiting for the store's event. Whoever
// has just committed may call it.
func (p *Publisher) Kick() { p.kick.Send() }

// Refresh reads the head and publishes it if it is news and compiles.
func (p *Publisher) Refresh(ctx context.Context) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return p.refresh(ctx)
}

// lock serialises reads of the head, so that an older one cannot overtake a
// newer, and the conclusions drawn from them.
func (p *Publisher) lock(ctx context.Context) (unlock func(), err error) {
	select {
	case p.refreshing <- struct{}{}:
		return func() { <-p.refreshing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// refresh is Refresh under the lock.
func (p *Publisher) refresh(ctx context.Context) error {
	begin := p.c.Now()
	head, err := p.c.Store.Current(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.read = begin
	p.mu.Unlock()
	v, was := VersionOf(head), p.Wanted()
	if v.Epoch == was.Epoch && head.Accepted && !was.Accepted {
		p.accept(v.Epoch)
	}
	if v == was.Version {
		p.loadHistory(ctx, v)
		return nil
	}
	if p.knownBad(v) {
		return nil
	}
	if v.Epoch < was.Epoch || v.Epoch == was.Epoch && v.Revision <= was.Revision {
		// The head went back under this very process: the store was replaced.
		if err := p.newEpoch(ctx, was.Version, v); err != nil {
			return err
		}
		p.Kick() // what the new epoch holds is for the next look
		return nil
	}
	if problems := p.compiler.check(ctx, was.Tree.Root(), head.Tree, v); len(problems) > 0 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.refuse(v, problems)
		return nil
	}
	p.loadHistory(ctx, v)
	p.publish(Published{Version: v, Tree: head.Tree, At: p.c.Now(), Accepted: head.Accepted}, begin)
	return nil
}

// VersionOf names a configuration of the store.
func VersionOf(s store.Configuration) tree.Version {
	return tree.Version{Epoch: s.Epoch, Revision: s.Revision, Root: s.Tree.Root()}
}

func (p *Publisher) knownBad(v tree.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unpublished != nil && p.unpublished.Version == v
}

func (p *Publisher) refuse(v tree.Version, problems []resource.Problem) {
	p.counts.unpublishable.Add(1)
	p.log.Error("publish: the head does not compile in this build; nodes keep the version before",
		"epoch", v.Epoch, "revision", v.Revision, "problems", len(problems), "first", problems[0])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unpublished = &Unpublished{Version: v, Problems: problems, Since: p.c.Now()}
}

func (p *Publisher) publish(next Published, begin time.Time) {
	p.compiler.keepWanted(next.Version)
	p.mu.Lock()
	p.wanted, p.unpublished = next, nil
	k := newKept(next.Version)
	k.tree, k.loaded = next.Tree, true
	p.keep(k)
	p.mu.Unlock()
	p.news.Ring()
	p.counts.published.Add(1)
	p.counts.latency.Observe(p.c.Now().Sub(begin))
	p.log.Info("publish: wanted", "epoch", next.Epoch, "revision", next.Revision, "digest", next.Root.Short(), "resources", next.Tree.Len())
}

// accept makes the epoch of what is wanted an accepted one. What is wanted may be
// older than the head: it is of the same epoch.
func (p *Publisher) accept(epoch uint64) {
	p.mu.Lock()
	p.wanted.Accepted = true
	p.mu.Unlock()
	p.news.Ring()
	p.log.Warn("publish: the epoch is accepted", "epoch", epoch)
}

// Wanted is the version that is wanted of the fleet; zero before the head was
// first read.
func (p *Publisher) Wanted() Published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// Unread is for how long the head was not read; 0 before it was for the first time. It
// is read at least at every tick of the store's Watch.
func (p *Publisher) Unread() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.read.IsZero() {
		return 0
	}
	return p.c.Now().Sub(p.read)
}

// WantedFor is the version that is wanted of one node.
func (p *Publisher) WantedFor(string) Published { return p.Wanted() }

// Unpublished is a head that is not wanted because it does not compile here.
func (p *Publisher) Unpublished() (Unpublished, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unpublished == nil {
		return Unpublished{}, false
	}
	return *p.unpublished, true
}

// Problems are those of the head, if it does not compile in this build.
func (p *Publisher) Problems() []resource.Problem {
	u, _ := p.Unpublished()
	return u.Problems
}

// Watch says "look at what is wanted again", coalesced. The channel is closed
// when ctx ends.
func (p *Publisher) Watch(ctx context.Context) <-chan struct{} { return p.news.Listen(ctx) }

// Certificates are those of what is wanted, by name.
func (p *Publisher) Certificates() iter.Seq2[string, *x509.Certificate] {
	wanted, _ := p.compiler.current()
	return func(yield func(string, *x509.Certificate) bool) {
		if wanted == nil {
			return
		}
		wanted.Certificates(func(name string, pair *certificate.Pair) bool { return yield(name, pair.Leaf) })
	}
}

// Explain says which routes of what is wanted a request gets. It looks at the head first, so
// that who has made a change is told of that; where the store does not answer it goes by what
// was wanted last. Its error is an *api.Error: the request is none, or nothing is wanted yet.
func (p *Publisher) Explain(ctx context.Context, r api.ExplainRequest) (api.Explanation, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	_ = p.Refresh(ctx) // Run says it if the head cannot be read
	wanted, v := p.compiler.current()
	if wanted == nil {
		return api.Explanation{}, api.NewError(api.TypeUnavailable, "no version is wanted yet: ask again")
	}
	listeners, err := explain.Listeners(wanted.Table, r)
	if err != nil {
		return api.Explanation{}, api.NewError(api.TypeMalformed, "%v", err)
	}
	return api.Explanation{
		Version:   api.Version{Epoch: v.Epoch, Revision: v.Revision, Digest: v.Root.String()},
		Listeners: listeners,
	}, nil
}

// Check compiles a candidate, incrementally from its base, and returns what is
// wrong with it. The result is kept: publishing the same root costs nothing.
func (p *Publisher) Check(ctx context.Context, base store.Configuration, next tree.Tree) []resource.Problem {
	p.counts.checks.Add(1)
	v := tree.Version{Epoch: base.Epoch, Revision: base.Revision + 1, Root: next.Root()}
	return p.compiler.check(ctx, base.Tree.Root(), next, v)
}

// ErrContradiction is a node or a head that shows the store to be another one
// than before.
var ErrContradiction = errors.New("the store is not the one that made this version")
