package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// The kinds of errors. Any other error of a call that writes means that nothing
// was written.
var (
	// ErrConflict: what the write was based on has changed since.
	ErrConflict = errors.New("changed in the meantime")
	// ErrNotFound: there is no such revision (yet), or no such node.
	ErrNotFound = errors.New("not found")
	// ErrCompacted: the revision is older than the history that is kept.
	ErrCompacted = errors.New("no longer in the history")
	// ErrExists: the node record that should be created is there.
	ErrExists = errors.New("exists already")
	// ErrTooLarge: a resource, a message or an author is larger than allowed.
	ErrTooLarge = errors.New("too large")
	// ErrUnknown: etcd could not be asked whether the change took place. It may
	// have, or may still.
	ErrUnknown = errors.New("outcome unknown")
	// ErrFull: etcd has no room, or is about to have none. Nothing was changed.
	ErrFull = errors.New("etcd is full")
	// ErrDamaged: etcd lacks something that it must have, or holds something
	// that cannot be read.
	ErrDamaged = errors.New("store is damaged")
)

const (
	// maxResourceBytes bounds a resource (DESIGN §5). With the key it stays far
	// below etcd's limit of a request.
	maxResourceBytes = 256 << 10
	maxMessageBytes  = 16 << 10
	maxAuthorBytes   = 1 << 10

	// historyFloor is how many changes are kept whatever their age.
	historyFloor = 100

	// outcomeTimeout bounds the search for the outcome of a commit whose answer
	// was lost; the caller's context may be over by then.
	outcomeTimeout = 5 * time.Second

	// casAttempts bounds the repetitions of what other writers can spoil without
	// changing its meaning. Each needs another writer to come between; that many
	// in a row mean that something is broken.
	casAttempts = 16
)

// Options of a store. The zero value has the defaults.
type Options struct {
	Prefix string           // DefaultPrefix
	Now    func() time.Time // time.Now
	Logger *slog.Logger     // nothing is logged

	// Seal is the key under which secrets are sealed: the same on all replicas. nil:
	// no secret can be kept or read.
	Seal *seal.Key

	// EpochFloor is the highest epoch that the caller knows of. A new epoch is
	// above it. It does not make one.
	EpochFloor uint64

	// Tick is the time between the signals of a watch when nothing happens.
	Tick time.Duration // 30 s

	HistoryChanges int           // 10,000
	HistoryAge     time.Duration // 90 days
	// HistoryBytes bounds what the changes of the history wrote, but for the newest. Not
	// above a quarter of etcd's quota.
	HistoryBytes int64         // 512 MiB
	MinBlobAge   time.Duration // 24 h
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Tick <= 0 {
		o.Tick = 30 * time.Second
	}
	if o.HistoryChanges <= 0 {
		o.HistoryChanges = 10_000
	}
	if o.HistoryAge <= 0 {
		o.HistoryAge = 90 * 24 * time.Hour
	}
	if o.HistoryBytes <= 0 {
		o.HistoryBytes = 512 << 20
	}
	if o.MinBlobAge <= 0 {
		o.MinBlobAge = 24 * time.Hour
	}
	return o
}

// Store reads and writes the configuration and the node records.
type Store struct {
	// immutable
	client  *clientv3.Client
	kv      kv
	watcher clientv3.Watcher
	options Options
	keys    keys
	log     *slog.Logger

	historyFloor   uint64
	outcomeTimeout time.Duration
	refusals       wakeup.Signal // there was one

	// loading holds a token while somebody reads the tree of the head, so that several
	// readers of a new one fetch it once; browsing while somebody reads one of the history,
	// for which nobody waits who wants the head.
	loading, browsing chan struct{}

	mu      sync.Mutex
	cluster uint64    // guarded by mu: etcd's id, of the epoch that is known
	epoch   uint64    // guarded by mu: the highest one seen
	last    tree.Tree // guarded by mu: the newest tree that was read or written
	space   Space     // guarded by mu: when etcd was asked last; zero: it was not
	written int64     // guarded by mu: bytes of commits since
	refused bool      // guarded by mu: a commit was, since garbage was collected
	// moved is closed, and another one made, when etcd turns out to be another one
	// than before. Guarded by mu.
	moved chan struct{}
}

// Configuration is the configuration as of one revision.
type Configuration struct {
	Epoch, Revision uint64
	Tree            tree.Tree
	// Accepted: somebody accepted the epoch; only Current and Commit tell.
	Accepted bool

	at position
}

// Root is the digest of the configuration's tree.
func (s Configuration) Root() tree.Hash { return s.Tree.Root() }

// position is what a commit compares. A configuration that did not come from the head
// has none.
type position struct {
	head  int64  // modification revision of the head key
	value string // of the head key: differs between epochs, where revisions of etcd may not
	sweep int64  // modification revision of the sweep key when the head was read; 0: no key
}

// Open reads the head and the epoch record, or makes them.
func Open(ctx context.Context, client *clientv3.Client, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{
		client:  client,
		kv:      prompt{client.KV, answerTimeout},
		watcher: client.Watcher,
		options: o,
		keys:    keys{prefix: o.Prefix},
		log:     o.Logger,
		epoch:   o.EpochFloor,

		historyFloor:   historyFloor,
		outcomeTimeout: outcomeTimeout,
		refusals:       wakeup.NewSignal(),
		loading:        make(chan struct{}, 1),
		browsing:       make(chan struct{}, 1),
		moved:          make(chan struct{}),
	}
	if err := s.establish(ctx); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return s, nil
}

// Current is what is wanted now: the head is read from a majority of etcd, and
// of its tree only what the newest known tree lacks.
func (s *Store) Current(ctx context.Context) (Configuration, error) {
	failed := int64(0) // the head whose tree could not be read
	for range casAttempts {
		h, err := s.readHead(ctx)
		if err != nil {
			return Configuration{}, fmt.Errorf("store: head: %w", err)
		}
		if h.head == nil || !s.knows(h.cluster) {
			if err := s.establish(ctx); err != nil {
				return Configuration{}, fmt.Errorf("store: %w", err)
			}
			continue
		}
		root, err := tree.HashFromBytes(h.head.GetRoot())
		if err != nil {
			return Configuration{}, fmt.Errorf("store: head: %w: %w", ErrDamaged, err)
		}
		t, err := s.load(ctx, root, true)
		if errors.Is(err, ErrDamaged) && h.at.head != failed {
			// A reader that slept may look for what left the history since.
			failed = h.at.head
			continue
		}
		if err != nil {
			return Configuration{}, fmt.Errorf("store: revision %d: %w", h.head.GetRevision(), err)
		}
		s.accept(h.cluster, h.head.GetEpoch())
		return Configuration{
			Epoch: h.head.GetEpoch(), Revision: h.head.GetRevision(), Tree: t,
			Accepted: h.accepted, at: h.at,
		}, nil
	}
	return Configuration{}, fmt.Errorf("store: head: %w", ErrConflict)
}

// headRead is the head as etcd has it.
type headRead struct {
	cluster uint64
	head    *fleetv1.Head // nil: there is none
	at      position
	// accepted is of the head's epoch; only readHead reads it.
	accepted bool
}

func (s *Store) readHead(ctx context.Context) (headRead, error) {
	r, err := s.kv.Txn(ctx).Then(
		clientv3.OpGet(s.keys.head()), clientv3.OpGet(s.keys.sweep()), clientv3.OpGet(s.keys.epoch()),
	).Commit()
	if err != nil {
		return headRead{}, err
	}
	h, err := headOf(r)
	if err != nil {
		return headRead{}, err
	}
	if kvs := r.Responses[2].GetResponseRange().GetKvs(); len(kvs) == 1 {
		record := &fleetv1.EpochRecord{}
		if err := proto.Unmarshal(kvs[0].Value, record); err != nil {
			return headRead{}, fmt.Errorf("%w: epoch record: %w", ErrDamaged, err)
		}
		h.accepted = record.GetAccepted() && record.GetEpoch() == h.head.GetEpoch()
	}
	return h, nil
}

// headOf reads the answer of a transaction that got the head and the sweep key.
func headOf(r *clientv3.TxnResponse) (headRead, error) {
	h := headRead{cluster: r.Header.GetClusterId()}
	if kvs := r.Responses[0].GetResponseRange().GetKvs(); len(kvs) == 1 {
		h.head = &fleetv1.Head{}
		if err := proto.Unmarshal(kvs[0].Value, h.head); err != nil {
			return headRead{}, fmt.Errorf("%w: head: %w", ErrDamaged, err)
		}
		h.at.head, h.at.value = kvs[0].ModRevision, string(kvs[0].Value)
	}
	if kvs := r.Responses[1].GetResponseRange().GetKvs(); len(kvs) == 1 {
		h.at.sweep = kvs[0].ModRevision
	}
	return h, nil
}

// load reads a tree, one caller at a time of those that keep it, and one of the others. What
// is kept is there for the next.
func (s *Store) load(ctx context.Context, root tree.Hash, keep bool) (tree.Tree, error) {
	if t := s.newest(); t.Root() == root {
		return t, nil
	}
	turn := s.browsing
	if keep {
		turn = s.loading
	}
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return tree.Tree{}, context.Cause(ctx)
	}
	t, err := tree.LoadFrom(s.newest(), root, func(hashes []tree.Hash) ([][]byte, error) {
		return s.getBlobs(ctx, hashes)
	})
	if errors.Is(err, tree.ErrMalformed) || errors.Is(err, tree.ErrMismatch) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err == nil && keep {
		s.remember(t)
	}
	return t, err
}

func (s *Store) newest() tree.Tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// remember keeps a tree for its likeness to what will be read next. Which one it
// is decides about cost only, so that nobody needs to know which was newer.
func (s *Store) remember(t tree.Tree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = t
}

func (s *Store) knows(cluster uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cluster == cluster
}
