package nodes

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/roster"
	"github.com/proxyfleet/proxyfleet/controlplane/session"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// silentAfter is three missing Statuses.
	silentAfter = 15 * time.Second
	// houseEvery is how often silent nodes are looked for.
	houseEvery = time.Second
	// defaultMaxNodes is ten times the largest fleet that was thought of; an entry
	// is some kilobytes.
	defaultMaxNodes = 10_000
)

// Publisher decides what is wanted. *publish.Publisher is one.
type Publisher interface {
	// WantedFor is the version that is wanted of the node; zero: none yet.
	WantedFor(node string) publish.Published
	// Unread is for how long the store was not read; at least every half minute it is,
	// if it answers.
	Unread() time.Duration
}

// Records keeps the nodes that the fleet knows, and the list. *store.Store is one; its
// errors are those of package store.
type Records interface {
	// Nodes are all records, and a number that grows with each change of them.
	Nodes(ctx context.Context) (records []*fleetv1.NodeRecord, revision uint64, err error)
	// WatchNodes says "look again", coalesced, until ctx ends.
	WatchNodes(ctx context.Context) <-chan struct{}
	// Node is one record, and what PutNode must see to replace it.
	Node(ctx context.Context, id string) (record *fleetv1.NodeRecord, seen int64, err error)
	// PutNode with seen 0 creates a record; store.ErrExists: it is there.
	PutNode(ctx context.Context, r *fleetv1.NodeRecord, seen int64) (int64, error)
	// ExpectedList is the list of expected members; nil: there is none.
	ExpectedList(ctx context.Context) (record *fleetv1.ListRecord, seen int64, err error)
	// PutExpectedList replaces what was seen; store.ErrConflict: it changed since.
	PutExpectedList(ctx context.Context, record *fleetv1.ListRecord, seen int64) error
}

// Config has what a Registry works with. Publisher and Records are required.
type Config struct {
	Publisher Publisher
	Records   Records
	// Name is by what people know this control plane: the address that nodes connect to.
	Name string
	// Alone: no other control plane can use the store of this one, so that there is none
	// to send nodes to when that does not answer, and none to tell of them.
	Alone bool
	// MaxNodes bounds the nodes that are known or connected; 0: 10,000.
	MaxNodes int
	Logger   *slog.Logger     // nil: slog.Default()
	Now      func() time.Time // nil: time.Now
}

// Registry is what is known of the nodes. It may be used by any number of goroutines.
type Registry struct {
	// immutable
	c    Config
	log  *slog.Logger
	kick wakeup.Signal // makes Run look at what is missing or was reported
	news bell.Bell     // of what Nodes shows
	tell wakeup.Signal // there is something to tell other control planes

	// guarded by mu
	mu       sync.Mutex
	nodes    map[string]*node
	missing  map[string]*fleetv1.NodeRecord // what the store is to have, by id
	roster   roster.Roster
	listed   uint64              // the revision of the list; 0: there is none, or it was not read yet
	stands   standstill          // of the list
	tickets  *fleetv1.TicketKeys // nil: none yet
	state    *fleetv1.FleetState // nil: the records were not read yet
	replaced chan struct{}       // closed when there is another state
	untold   map[string]matter   // what other control planes are not told yet, by node
	others   otherPlanes
}

// node is one node, guarded by Registry.mu.
type node struct {
	id      string
	record  *fleetv1.NodeRecord // nil: none yet
	current *Link               // nil: none
	links   uint64              // how many there were
	heard   time.Time           // the last message
	silent  bool                // noticed
	account                     // of its links here
	there   *place              // where else it is, or was; nil: nowhere

	sentAway   time.Time // last, since this control plane was cut off; zero: never
	conflict   string    // address of a second machine with this id
	conflictAt time.Time
}

// account is what a control plane knows of a node that is, or was, connected to it.
type account struct {
	hello    *fleetv1.Hello // the last; nil: never heard
	running  tree.Version
	attested tree.Hash
	drift    bool
	state    session.State
	judged   tree.Version       // what was wanted when state came about
	problems []resource.Problem // of the last refusal, while it stands
	loss     *fleetv1.Loss      // by what it holds; nil: it holds nothing
	beside   string             // as a Sighting has it

	lastStatus *fleetv1.Status
	statusAt   time.Time       // when lastStatus came
	heldFrom   map[string]held // of what lastStatus says it holds, by virtual IP
}

// New starts nothing.
func New(c Config) *Registry {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxNodes == 0 {
		c.MaxNodes = defaultMaxNodes
	}
	return &Registry{
		c: c, log: c.Logger, kick: wakeup.NewSignal(), tell: wakeup.NewSignal(),
		nodes: map[string]*node{}, missing: map[string]*fleetv1.NodeRecord{}, replaced: make(chan struct{}),
		untold: map[string]matter{},
	}
}

// Run keeps records, list and registry up to date until ctx ends. It is called once.
func (r *Registry) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { r.keepHouse(ctx) })
	r.follow(ctx)
	return nil
}

// keepHouse notices silent nodes, and sends nodes away while this control plane is cut off.
func (r *Registry) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.noticeSilence()
			if r.cutOff() {
				r.sendAway()
			}
		}
	}
}

// noticeSilence tells watchers about nodes that have just become silent, or of which nothing
// is heard any more from elsewhere.
func (r *Registry) noticeSilence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.c.Now()
	for _, n := range r.nodes {
		if n.current != nil && !n.silent && now.Sub(n.heard) >= silentAfter {
			n.silent = true
			r.changed(n, itself|itsVIPs)
		}
	}
	r.noticeDeafness(now)
}

// Watch says "look at Nodes again" when a node came, went, answered, drifted or
// became silent; counters that only grow are no reason. It is coalesced, and
// closed when ctx ends.
func (r *Registry) Watch(ctx context.Context) <-chan struct{} { return r.news.Listen(ctx) }

// Size is how many nodes are known, and how many of these are connected to this control
// plane.
func (r *Registry) Size() (known, connected int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size()
}

// size is Size. The caller holds mu.
func (r *Registry) size() (known, connected int) {
	for _, n := range r.nodes {
		if n.current != nil {
			connected++
		}
	}
	return len(r.nodes), connected
}

// Known are the revision of the list of expected members and the number of the last
// decision about a node, as far as the store was read; 0: none.
func (r *Registry) Known(id string) (list, decision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.nodes[id]; n != nil {
		decision = n.record.GetDecision()
	}
	return r.listed, decision
}
