package replicas

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/nodes"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// telling is what this control plane tells, and what others do not know yet.
type telling struct {
	packer  packer
	lease   int64 // 0: none
	keepDue time.Time

	self    bool              // who this is was told
	nodes   untold            // of nodes themselves
	vips    untold            // of what they report
	written map[string]int64  // revisions, by name
	first   [groups]firstTold // of the nodes that were told
}

// firstTold is at which revision connections were told first, by node.
type firstTold map[string]connection

type connection struct {
	link  uint64
	first int64
}

// untold is which groups others do not know any more.
type untold struct {
	groups [groups]bool
	since  time.Time // the first of them; zero: none
	next   time.Time // not before
}

// note notes that a group is not known.
func (u *untold) note(group int, now time.Time) {
	u.groups[group] = true
	if u.since.IsZero() {
		u.since = now
	}
}

// settled notes that a group is known.
func (u *untold) settled(group int) {
	if u.groups[group] = false; !slices.Contains(u.groups[:], true) {
		u.since = time.Time{}
	}
}

// due is when to tell; zero: there is nothing to tell.
func (u *untold) due() time.Time {
	if u.since.IsZero() {
		return time.Time{}
	}
	if at := u.since.Add(gather); at.After(u.next) {
		return at
	}
	return u.next
}

// all notes that no group is known.
func (u *untold) all() {
	for group := range u.groups {
		u.groups[group] = true
	}
}

// begin has what is not known be so from now on: there was nobody to know it.
func (u *untold) begin(now time.Time) {
	if u.since = (time.Time{}); slices.Contains(u.groups[:], true) {
		u.since = now
	}
}

// due is when to write; zero: there is nothing to write, or no lease for it. Nobody needs to
// know more than who this is where nobody hears it.
func (t *telling) due(heard bool) time.Time {
	switch {
	case t.lease == 0:
		return time.Time{}
	case !heard && (!t.self || len(t.written) > 1):
		return t.nodes.next
	case !heard:
		return time.Time{}
	}
	due := t.nodes.due()
	if at := t.vips.due(); due.IsZero() || !at.IsZero() && at.Before(due) {
		due = at
	}
	return due
}

// keep keeps the lease, or begins one.
func (r *Replicas) keep(ctx context.Context) {
	t, now := &r.tells, r.c.Now()
	if now.Before(t.keepDue) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	t.keepDue = now.Add(keepEvery)
	if t.lease != 0 {
		if r.isHeard() && !t.nodes.since.IsZero() && now.Sub(t.nodes.since) >= tellWithin {
			return // what is told is too old to stay
		}
		err := r.c.Store.KeepLease(ctx, t.lease)
		if !errors.Is(err, store.ErrNotFound) {
			r.noteTold(&r.shown.leased, err)
			if err != nil {
				t.keepDue = r.c.Now().Add(retry)
			}
			return
		}
		r.lost()
	}
	lease, err := r.c.Store.Lease(ctx, leaseTTL)
	r.noteTold(&r.shown.leased, err)
	if err != nil {
		t.keepDue = r.c.Now().Add(retry)
		return
	}
	t.lease = lease
	// Others have not known of the connections for a while, which makes them new ones to them.
	t.first = [groups]firstTold{}
	r.tellAll()
}

// lost notes that the lease is none any more, and with it what was told.
func (r *Replicas) lost() {
	if r.tells.lease != 0 {
		r.log.Info("replicas: the lease ran out; another one is begun")
	}
	r.tells.lease, r.tells.keepDue = 0, time.Time{}
}

// tellAll has all be told anew.
func (r *Replicas) tellAll() {
	t, now := &r.tells, r.c.Now()
	t.self, t.written = false, map[string]int64{}
	for _, u := range []*untold{&t.nodes, &t.vips} {
		u.all()
		u.begin(now)
		u.next = now
	}
}

// isHeard says whether there is another control plane, or may be one again soon.
func (r *Replicas) isHeard() bool {
	return !r.hears.others.IsZero() && r.c.Now().Sub(r.hears.others) < heardFor
}

// take takes what the registry has changed.
func (r *Replicas) take() {
	themselves, vips := r.c.Nodes.Untold()
	now := r.c.Now()
	for _, id := range themselves {
		r.tells.nodes.note(groupOf(id), now)
	}
	for _, id := range vips {
		r.tells.vips.note(groupOf(id), now)
	}
}

// write tells what others do not know, if it is time.
func (r *Replicas) write(ctx context.Context) {
	r.take()
	t, now := &r.tells, r.c.Now()
	due := t.due(r.isHeard())
	if due.IsZero() || now.Before(due) {
		return
	}
	if !r.isHeard() {
		r.withdraw(ctx)
		return
	}
	// What others are told of nodes goes before what they are told of virtual IPs.
	if at := t.nodes.due(); !at.IsZero() && !now.Before(at) {
		_, err := r.tell(ctx, &t.nodes, kindNodes)
		t.nodes.next = r.c.Now().Add(tellEvery)
		if err != nil {
			return
		}
	}
	if at := t.vips.due(); !at.IsZero() && !now.Before(at) {
		bytes, _ := r.tell(ctx, &t.vips, kindVIPs)
		pause := time.Duration(bytes) * time.Second / vipBytes
		t.vips.next = r.c.Now().Add(min(max(pause, tellEvery), vipsWithin))
	}
}

// tell tells the groups of a kind that others do not know.
func (r *Replicas) tell(ctx context.Context, of *untold, kind string) (bytes int, err error) {
	t := &r.tells
	var here [groups][]nodes.Here
	for _, n := range r.c.Nodes.Here(func(id string) bool { return of.groups[groupOf(id)] }) {
		here[groupOf(n.ID)] = append(here[groupOf(n.ID)], n)
	}
	values, names := map[string][]byte{}, map[string]int{}
	for group, is := range of.groups {
		if !is {
			continue
		}
		record := r.record(kind, group, here[group])
		name := nameOf(r.me, kind, group)
		if _, told := t.written[name]; record == nil && !told {
			of.settled(group)
			continue
		}
		values[name], names[name], bytes = record, group, bytes+len(record)
	}
	if !t.self {
		values[r.selfName()] = r.self()
	}
	if len(values) == 0 {
		return 0, nil
	}
	written, err := r.put(ctx, values)
	for name, revision := range written {
		group, is := names[name]
		if !is {
			continue
		}
		of.settled(group)
		if kind == kindNodes {
			t.first[group] = toldFirst(here[group], revision)
		}
	}
	return bytes, err
}

// withdraw tells who this is and nothing else, since nobody hears it: who comes shall not
// find what was true when somebody did.
func (r *Replicas) withdraw(ctx context.Context) {
	t := &r.tells
	values := map[string][]byte{r.selfName(): r.self()}
	for name := range t.written {
		if name != r.selfName() {
			values[name] = nil
		}
	}
	t.nodes.all()
	t.vips.all()
	_, _ = r.put(ctx, values) // which noted what failed
	t.nodes.next = r.c.Now().Add(tellEvery)
}

// put writes values, and notes which of them are there now.
func (r *Replicas) put(ctx context.Context, values map[string][]byte) (written map[string]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	t, bytes := &r.tells, 0
	written, err = r.c.Store.Tell(ctx, t.lease, values)
	for name, revision := range written {
		bytes += len(values[name])
		if t.written[name] = revision; values[name] == nil {
			delete(t.written, name)
		}
		t.self = t.self || name == r.selfName()
	}
	r.noteWrite(bytes, err)
	if errors.Is(err, store.ErrNotFound) {
		r.lost()
	}
	return written, err
}

func (r *Replicas) selfName() string { return r.me + "/" + kindSelf }

// self is who this control plane is.
func (r *Replicas) self() []byte {
	record, err := proto.Marshal(&fleetv1.ReplicaRecord{Name: r.c.Name, Build: r.c.Build})
	if err != nil {
		r.log.Error("replicas: others are not told who this is", "error", err)
	}
	return append([]byte{}, record...) // never nil, which would be none
}

// record is what others are told of a group; nil: nothing.
func (r *Replicas) record(kind string, group int, here []nodes.Here) (record []byte) {
	var err error
	if kind == kindVIPs {
		record, err = r.tells.packer.reports(here)
	} else if len(here) > 0 {
		for _, n := range here {
			if c := r.tells.first[group][n.ID]; c.link == n.Link {
				n.Sighting.ToldFirst = c.first
			}
		}
		record, err = r.tells.packer.sightings(here)
	}
	if err != nil {
		r.log.Error("replicas: nodes are not told of", "kind", kind, "group", group, "nodes", len(here), "error", err)
		return nil
	}
	return record
}

// toldFirst is at which revision the connections of nodes were told first, after they were told
// at one.
func toldFirst(here []nodes.Here, revision int64) firstTold {
	first := make(firstTold, len(here))
	for _, n := range here {
		c := connection{n.Link, n.Sighting.GetToldFirst()}
		if c.first == 0 {
			c.first = revision
		}
		first[n.ID] = c
	}
	return first
}

// end has others know that this control plane is gone, without waiting for the lease.
func (r *Replicas) end(ctx context.Context) {
	if r.tells.lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if err := r.c.Store.EndLease(ctx, r.tells.lease); err != nil {
		r.log.Debug("replicas: the lease was not ended", "error", err)
	}
}

// noteTold takes note of whether others can be told, by one of two conditions.
func (r *Replicas) noteTold(c *condition, err error) {
	r.shown.mu.Lock()
	news := c.note(r.c.Now(), err)
	r.shown.mu.Unlock()
	switch {
	case news && err != nil:
		r.log.Warn("replicas: other control planes are not told of the nodes here", "error", err, "retry_in", retry)
	case news:
		r.log.Info("replicas: other control planes are told of the nodes here again")
	}
}

// noteWrite takes note of a write.
func (r *Replicas) noteWrite(bytes int, err error) {
	r.noteTold(&r.shown.told, err)
	r.shown.mu.Lock()
	defer r.shown.mu.Unlock()
	if err != nil {
		r.shown.counters.Failures++
		return
	}
	r.shown.counters.Writes++
	r.shown.counters.Bytes += uint64(bytes) //nolint:gosec // a length
}
