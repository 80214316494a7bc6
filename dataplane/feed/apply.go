package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// applier owns what the node runs. Its goroutine takes updates one at a time,
// and between them retries what could not be applied.
type applier struct {
	// immutable
	f       *Feed
	updates chan *update
	resets  chan resetRequest

	// owned by run
	live    *compile.Result // nil: nothing runs
	running tree.Version
	pending *attempt // what Apply refused and is tried again; nil: nothing
	// restored is the last known good configuration until something runs: Apply
	// may have refused it so far.
	restored *attempt
	link     context.Context
	answers  chan<- answer
}

// attempt is a compiled version on its way into force.
type attempt struct {
	version tree.Version
	result  *compile.Result
	pause   backoff
	due     time.Time   // of the next try
	timer   *time.Timer // until then
}

// resetRequest begins a link.
type resetRequest struct {
	link    context.Context // ends with the link
	answers chan<- answer
	running chan<- tree.Version // buffered
}

func newApplier(f *Feed) *applier {
	return &applier{f: f, updates: make(chan *update), resets: make(chan resetRequest)}
}

// reset makes answers go to a new link, drops what was being retried, and says
// what runs. It waits for what is being applied at this moment.
func (a *applier) reset(link context.Context, answers chan<- answer) (tree.Version, bool) {
	running := make(chan tree.Version, 1)
	select {
	case a.resets <- resetRequest{link: link, answers: answers, running: running}:
	case <-link.Done():
		return tree.Version{}, false
	}
	select {
	case v := <-running:
		return v, true
	case <-link.Done():
		return tree.Version{}, false
	}
}

func (a *applier) run(ctx context.Context) {
	// Nobody waits for answers before the first link.
	nobody, cancel := context.WithCancel(ctx)
	cancel()
	a.link = nobody
	defer a.drop()
	if a.f.c.Boot != nil {
		a.boot(ctx, a.f.c.Boot)
	}
	for {
		var retry <-chan time.Time
		if a.pending != nil {
			retry = a.pending.timer.C
		}
		select {
		case <-ctx.Done():
			return
		case r := <-a.resets:
			a.drop()
			a.link, a.answers = r.link, r.answers
			r.running <- a.running
			a.resume()
		case u := <-a.updates:
			a.drop()
			a.take(ctx, u)
		case <-retry:
			a.try(ctx, a.pending)
		}
	}
}

// boot puts the last known good configuration into force. One that this build
// does not take is told, and the node waits for a control plane.
func (a *applier) boot(ctx context.Context, last *table.Configuration) {
	result, problems := compile.Compile(a.f.c.Permit, nil, last.Tree, last.Version)
	if len(problems) > 0 {
		a.f.log.Error("last known good configuration: refused", "problems", len(problems), "first", problems[0])
		return
	}
	v := tree.Version{Epoch: last.Version.Epoch, Revision: last.Version.Revision, Root: last.Tree.Root()}
	a.f.note(func(s *State) { s.Wanted = v })
	a.restored = &attempt{version: v, result: result, pause: retryBackoff()}
	a.try(ctx, a.restored)
}

// drop gives up what is being retried: something newer has come.
func (a *applier) drop() {
	if a.pending == nil {
		return
	}
	a.pending.timer.Stop()
	a.pending = nil
	a.f.note(func(s *State) { s.Retrying = false })
}

// take brings an update as far as it goes.
func (a *applier) take(ctx context.Context, u *update) {
	begin := time.Now()
	a.f.note(func(s *State) { s.Wanted, s.Problems, s.Retrying = u.target, nil, false })
	result, refusal := a.prepare(u)
	if refusal != nil {
		a.refuse(*refusal)
		a.resume()
		return
	}
	a.f.counts.prepared(time.Since(begin))
	if u.target == a.running {
		a.acknowledge(u.target)
		return
	}
	a.try(ctx, &attempt{version: u.target, result: result, pause: retryBackoff()})
}

// prepare makes the compiled version, or the refusal that the update deserves.
// It changes nothing.
func (a *applier) prepare(u *update) (*compile.Result, *answer) {
	refuse := func(kind fleetv1.Nack_Kind, problems ...resource.Problem) (*compile.Result, *answer) {
		return nil, &answer{version: u.target, kind: kind, problems: problems}
	}
	switch {
	case u.target == a.running:
		return a.live, nil
	case !before(a.running, u.target):
		return refuse(fleetv1.Nack_PERMANENT, resource.Problem{
			Got:      "version " + u.target.String(),
			Expected: "a version after " + a.running.String() + ", which runs here",
		})
	case u.tooLarge:
		return refuse(fleetv1.Nack_PERMANENT, resource.Problem{
			Got: fmt.Sprintf("an update of more than %d MiB", maxUpdateBytes>>20), Expected: "a smaller configuration",
		})
	}
	var have tree.Tree
	if a.live != nil {
		have = a.live.Tree
	}
	next, err := a.grow(u, have)
	if err != nil {
		kind := fleetv1.Nack_PERMANENT
		if errors.Is(err, errBase) {
			kind = fleetv1.Nack_BASE_MISMATCH
		}
		return refuse(kind, resource.Problem{Got: err.Error(), Expected: "the tree of version " + u.target.String()})
	}
	if held := a.hold(u, next); held != nil {
		return nil, held
	}
	version := table.Version{Epoch: u.target.Epoch, Revision: u.target.Revision}
	result, problems := compile.Compile(a.f.c.Permit, a.live, next, version)
	if len(problems) > 0 {
		return refuse(fleetv1.Nack_PERMANENT, problems...)
	}
	return result, nil
}

// grow makes the tree.
func (a *applier) grow(u *update, have tree.Tree) (next tree.Tree, err error) {
	a.paced(func(pause func()) { next, err = u.applyTo(have, pause) })
	return next, err
}

// paced runs work that calls pause after each resource, holding the permit but
// for a breath now and then.
func (a *applier) paced(work func(pause func())) {
	permit := a.f.c.Permit
	if permit == nil {
		work(func() {})
		return
	}
	const (
		checkEvery = 32 // resources: a few microseconds each
		holdFor    = time.Millisecond
	)
	permit.Acquire()
	defer permit.Release()
	n, since := 0, time.Now()
	work(func() {
		if n++; n%checkEvery != 0 || time.Since(since) < holdFor {
			return
		}
		permit.Release()
		permit.Acquire()
		since = time.Now()
	})
}

// try puts a compiled version into force, or plans the next try.
func (a *applier) try(ctx context.Context, t *attempt) {
	again := a.pending == t
	a.f.begin(t.version)
	applying, cancel := context.WithTimeout(ctx, applyTimeout)
	err := a.f.c.Apply(applying, t.result.Table)
	cancel()
	a.f.end(t.version, t.result.Table.Root, err == nil)
	if err == nil {
		a.pending, a.restored = nil, nil
		a.live, a.running = t.result, t.version
		if a.f.c.Applied != nil {
			a.f.c.Applied(table.Configuration{Version: t.result.Table.Version, Tree: t.result.Tree})
		}
		a.acknowledge(t.version)
		return
	}
	if ctx.Err() != nil {
		return
	}
	delay := t.pause.next()
	t.due, t.timer = time.Now().Add(delay), time.NewTimer(delay)
	a.pending = t
	if again {
		a.f.counts.retries.Add(1)
	}
	a.f.log.Warn("configuration: not applied, will try again", "version", t.version, "error", err, "retry_in", delay)
	a.refuse(answer{version: t.version, kind: fleetv1.Nack_LOCAL, problems: []resource.Problem{{
		Got: err.Error(), Expected: "to be applied on this node; it tries again by itself",
	}}})
}

func (a *applier) acknowledge(v tree.Version) {
	a.f.counts.acks.Add(1)
	a.f.note(func(s *State) { s.Running, s.Problems, s.Retrying = v, nil, false })
	_, attested := a.f.standing()
	a.send(answer{version: v, acked: true, attested: attested})
}

func (a *applier) refuse(n answer) {
	switch n.kind {
	case fleetv1.Nack_LOCAL:
		a.f.counts.local.Add(1)
	case fleetv1.Nack_BASE_MISMATCH:
		a.f.counts.baseMismatch.Add(1)
	case fleetv1.Nack_HELD:
		a.f.counts.held.Add(1)
	default:
		a.f.counts.permanent.Add(1)
	}
	a.f.note(func(s *State) { s.Problems, s.Retrying = n.problems, n.kind == fleetv1.Nack_LOCAL })
	if n.kind != fleetv1.Nack_LOCAL {
		a.f.log.Warn("configuration: refused", "version", n.version, "kind", n.kind, "problems", len(n.problems), "first", n.problems[0])
	}
	a.send(n)
}

// send gives the answer to the link, unless that has ended: then nobody waits
// for it, and the next Hello says what runs.
func (a *applier) send(n answer) {
	select {
	case a.answers <- n:
	case <-a.link.Done():
	}
}

// begin and end enclose an Apply.
func (f *Feed) begin(v tree.Version) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applying = v
}

func (f *Feed) end(v tree.Version, root tree.Hash, applied bool) {
	f.mu.Lock()
	f.applying = tree.Version{}
	if applied {
		f.state.Running, f.state.AppliedAt, f.built = v, time.Now(), root
	}
	f.mu.Unlock()
	if applied {
		f.log.Info("configuration: applied", "epoch", v.Epoch, "revision", v.Revision, "digest", v.Root.Short())
	}
}
