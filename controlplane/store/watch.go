package store

import (
	"context"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchRetry is the pause after a watch broke, by compaction or because etcd has
// no leader.
const watchRetry = time.Second

// Watch signals "look again" when the head was written, by whomever, and every
// Tick besides, which heals what a watch may lose. It signals first when it has
// begun to watch, so that nothing between an earlier read and it is missed.
// Signals that nobody took yet are one. The channel is closed when ctx ends.
func (s *Store) Watch(ctx context.Context) <-chan struct{} {
	return s.watch(ctx, s.keys.head())
}

// WatchNodes is Watch for the node records.
func (s *Store) WatchNodes(ctx context.Context) <-chan struct{} {
	return s.watch(ctx, s.keys.fleet())
}

func (s *Store) watch(ctx context.Context, key string, options ...clientv3.OpOption) <-chan struct{} {
	out := wakeup.NewSignal()
	go func() {
		defer close(out)
		tick := time.NewTicker(s.options.Tick)
		defer tick.Stop()
		for {
			s.follow(ctx, key, options, tick.C, out)
			out.Send()
			retry := time.NewTimer(watchRetry)
			select {
			case <-ctx.Done():
				retry.Stop()
				return
			case <-retry.C:
			}
		}
	}()
	return out
}

// follow watches until the watch breaks, etcd is another one or ctx ends. In an etcd
// that was wiped or put back a watch goes on from a revision that is still far off, and
// would hear nothing until then.
func (s *Store) follow(ctx context.Context, key string, options []clientv3.OpOption, tick <-chan time.Time, out wakeup.Signal) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	s.mu.Lock()
	moved := s.moved
	s.mu.Unlock()
	events := s.watcher.Watch(ctx, key, append(slices.Clone(options), clientv3.WithCreatedNotify())...)
	for {
		select {
		case <-ctx.Done():
			return
		case <-moved:
			return
		case r, ok := <-events:
			if !ok || r.Err() != nil {
				if ctx.Err() == nil {
					s.log.Warn("store: watch broke, trying again", "key", key, "error", r.Err())
				}
				return
			}
		case <-tick:
		}
		out.Send()
	}
}
