package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// shelf is an etcd of which the test says how full it is. A collection empties it, if
// one can begin.
type shelf struct {
	refusals chan struct{}

	mu    sync.Mutex
	space store.Space // guarded by mu
	full  bool        // guarded by mu: and the space does not say so
	did   []string    // guarded by mu
}

func (s *shelf) done() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.did)
}

func (s *shelf) Refusals() <-chan struct{} { return s.refusals }

func (s *shelf) Space(context.Context) (store.Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.space, nil
}

func (s *shelf) CollectGarbage(context.Context) (store.Collected, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, "collect")
	if s.space.Full || s.full {
		return store.Collected{}, fmt.Errorf("no room to begin: %w", store.ErrFull)
	}
	s.space.InUse, s.space.Refused = s.space.Quota/8, false
	return store.Collected{}, nil
}

func (s *shelf) reclaim(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, "compact")
	s.space.Full, s.full = false, false
	return nil
}

// TestRoomIsMadeWhenItIsShort, by hands in the embedded etcd, and else by telling.
func TestRoomIsMadeWhenItIsShort(t *testing.T) {
	const quota = 1 << 30
	short, full := store.Space{InUse: quota - 1, Quota: quota}, store.Space{InUse: quota, Quota: quota, Full: true}
	for name, test := range map[string]struct {
		space  store.Space
		full   bool // and does not say so
		others bool // whose etcd it is
		does   []string
		says   string // at the end
	}{
		"there is room":             {space: store.Space{InUse: 1, Quota: quota}},
		"short":                     {space: short, does: []string{"collect", "compact"}},
		"full":                      {space: full, does: []string{"compact", "collect", "compact"}},
		"full, and says so later":   {space: short, full: true, does: []string{"collect", "compact", "collect", "compact"}},
		"short, the etcd of others": {space: short, others: true, does: []string{"collect"}},
		"full, the etcd of others":  {space: full, others: true, does: []string{"collect"}, says: "etcdctl alarm disarm"},
		"no quota is told":          {space: store.Space{InUse: quota}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s := &shelf{space: test.space, full: test.full}
				r := &room{store: s, reclaim: s.reclaim, metrics: newMetrics(api.Build{}), logger: slog.New(slog.DiscardHandler)}
				if test.others {
					r.reclaim = nil
				}
				ended := make(chan error, 1)
				go func() { ended <- r.run(ctx) }()
				time.Sleep(shortEvery - time.Second)
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if did := s.done(); !slices.Equal(did, test.does) {
					t.Errorf("it did %v, want %v", did, test.does)
				}
				if says := strings.Join(r.notices(), ""); test.says == "" && says != "" || !strings.Contains(says, test.says) {
					t.Errorf("it says %q, want %q", says, test.says)
				}
			})
		})
	}
}

// TestThatRoomIsBeingMadeIsTold: etcd answers nobody meanwhile, and status would not say why.
func TestThatRoomIsBeingMadeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{space: store.Space{InUse: 7, Quota: 8}}
		r := &room{store: s, metrics: newMetrics(api.Build{}), logger: slog.New(slog.DiscardHandler)}
		var during string
		r.reclaim = func(context.Context) error {
			during = strings.Join(r.notices(), "")
			return errors.New("no")
		}
		r.look(t.Context())
		if !strings.Contains(during, "room is being made now, and etcd may answer nobody") {
			t.Errorf("meanwhile it says %q", during)
		}
		if says := strings.Join(r.notices(), ""); strings.Contains(says, "now") {
			t.Errorf("afterwards it says %q", says)
		}
	})
}

func TestRoomIsMadeAtOnceForAChangeThatWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &shelf{refusals: make(chan struct{}, 1), space: store.Space{InUse: 1, Quota: 8}}
		r := &room{store: s, reclaim: s.reclaim, metrics: newMetrics(api.Build{}), logger: slog.New(slog.DiscardHandler)}
		ended := make(chan error, 1)
		go func() { ended <- r.run(ctx) }()
		synctest.Wait()
		s.mu.Lock()
		s.space.Refused = true
		s.mu.Unlock()
		s.refusals <- struct{}{}
		synctest.Wait()
		if did := s.done(); !slices.Equal(did, []string{"collect", "compact"}) {
			t.Errorf("it did %v", did)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestGarbageIsCollectedSoonAndThenNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &shelf{}
		r := &room{store: s, metrics: newMetrics(api.Build{}), logger: slog.New(slog.DiscardHandler)}
		ended := make(chan error, 1)
		go func() { ended <- r.run(ctx) }()
		for i, until := range []time.Duration{garbageFirst - time.Minute, 2 * time.Minute, garbageEvery} {
			time.Sleep(until)
			synctest.Wait()
			if did := s.done(); len(did) != i {
				t.Errorf("step %d: it did %v", i, did)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
