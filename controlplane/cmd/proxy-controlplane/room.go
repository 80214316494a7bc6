package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
)

const (
	// garbageEvery is how often garbage is collected; the first time is soon
	// after the start, so that a process that restarts daily collects too.
	garbageEvery = store.CollectInterval
	garbageFirst = 10 * time.Minute
	// garbageTimeout bounds one collection, which reads every key of every blob, and
	// the making of room around it.
	garbageTimeout = 10 * time.Minute
	// roomEvery is how often etcd is asked how much room there is.
	roomEvery = time.Minute
	// shortEvery is how often room is made while it is short: often enough for whoever
	// waits for it, and seldom, as an etcd whose file is written anew answers nobody.
	shortEvery = 5 * time.Minute
)

// collector is the store, as far as it holds garbage.
type collector interface {
	Space(ctx context.Context) (store.Space, error)
	// Refusals says that a change was refused for want of room.
	Refusals() <-chan struct{}
	CollectGarbage(ctx context.Context) (store.Collected, error)
}

// room keeps etcd from running full.
type room struct {
	// immutable
	store   collector
	reclaim func(ctx context.Context) error // nil: that is for whoever runs etcd
	metrics *metrics
	logger  *slog.Logger

	notice atomic.Pointer[string] // for people; nil: there is room

	// owned by run
	due  time.Time // of the next collection
	made time.Time // when room was made last because it was short
}

// run collects garbage now and then, and makes room when it is short. A failure is no
// reason to stop.
func (r *room) run(ctx context.Context) error {
	r.due = time.Now().Add(garbageFirst)
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-r.store.Refusals(): // whoever made the change looks for the notice, and waits
		}
	}
}

// look asks how much room there is, and does what is due.
func (r *room) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, garbageTimeout)
	defer cancel()
	space, known := r.measure(ctx)
	short := known && space.Short() && time.Since(r.made) >= shortEvery
	if !short && time.Now().Before(r.due) {
		return
	}
	if short {
		r.made = time.Now()
	}
	r.due = time.Now().Add(garbageEvery)
	if short && space.Full {
		r.compact(ctx) // else no collection can begin
	}
	collected, err := r.store.CollectGarbage(ctx)
	if short && r.reclaim != nil && errors.Is(err, store.ErrFull) {
		r.compact(ctx) // it ran full since it was asked, or says so later than it refuses
		collected, err = r.store.CollectGarbage(ctx)
	}
	r.metrics.garbage(collected, err)
	if err != nil && ctx.Err() == nil {
		r.logger.Warn("garbage: not collected", "error", err, "retry_in", garbageEvery)
	}
	if short {
		r.compact(ctx)
		r.measure(ctx)
	}
}

// compact makes room in an etcd of its own. Meanwhile that may answer nobody, so people are
// told why.
func (r *room) compact(ctx context.Context) {
	if r.reclaim == nil {
		return
	}
	if before := r.notice.Load(); before != nil {
		now := *before + "; room is being made now, and etcd may answer nobody for a minute or two"
		r.notice.Store(&now)
		defer r.notice.Store(before)
	}
	begin := time.Now()
	if err := r.reclaim(ctx); err != nil && ctx.Err() == nil {
		r.logger.Error("etcd: no room was made", "error", err, "retry_in", shortEvery)
		return
	}
	r.logger.Info("etcd: room was made", "took", time.Since(begin).Round(time.Millisecond))
}

// measure asks etcd, and tells people when it begins or ends to be short of room. An
// etcd that does not answer is told elsewhere.
func (r *room) measure(ctx context.Context) (space store.Space, known bool) {
	space, err := r.store.Space(ctx)
	if err != nil {
		r.logger.Debug("etcd: its space is not known", "error", err)
		return space, false
	}
	r.metrics.space(space)
	before := r.notice.Load()
	if !space.Short() {
		if r.notice.Store(nil); before != nil {
			r.logger.Info("etcd: it has room again", "file_bytes", space.File, "in_use_bytes", space.InUse, "quota_bytes", space.Quota)
		}
		return space, true
	}
	notice := r.says(space)
	if r.notice.Store(&notice); before == nil {
		r.logger.Warn("etcd: it is short of room", "file_bytes", space.File, "in_use_bytes", space.InUse, "quota_bytes", space.Quota, "full", space.Full, "notice", notice)
	}
	return space, true
}

// says is what people should know and do.
func (r *room) says(space store.Space) string {
	text := "etcd is short of room (" + space.String() + ")"
	switch {
	case space.Full:
		text = "etcd is full and takes no change (" + space.String() + ")"
	case space.Refused:
		text = "etcd has no room for a change that was refused (" + space.String() + ")"
	}
	if r.reclaim != nil {
		return fmt.Sprintf("%s: room is made every %d minutes; if it stays so, the configuration is too large, or too much of it changes", text, int(shortEvery.Minutes()))
	}
	text += ": compact and defragment it (etcdctl compact, etcdctl defrag --cluster)"
	if space.Full {
		text += ", then etcdctl alarm disarm"
	}
	return text + "; etcd's --auto-compaction-retention keeps it from coming to that"
}

// notices are for proxyctl status.
func (r *room) notices() []string {
	if text := r.notice.Load(); text != nil {
		return []string{*text}
	}
	return nil
}
