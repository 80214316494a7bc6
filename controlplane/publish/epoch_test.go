package publish

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/bell"
	"github.com/proxyfleet/proxyfleet/controlplane/store"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestNodeThatContradictsTheStoreMakesANewEpoch(t *testing.T) {
	root := tree.Sum([]byte("another store"))
	for name, c := range map[string]struct {
		running tree.Version
		epoch   uint64 // afterwards
	}{
		"nothing runs":             {tree.Version{}, 1},
		"higher revision":          {tree.Version{Epoch: 1, Revision: 31, Root: root}, 2},
		"other digest at the head": {tree.Version{Epoch: 1, Revision: 30, Root: root}, 2},
		"other digest before":      {tree.Version{Epoch: 1, Revision: 3, Root: root}, 2},
		"later epoch":              {tree.Version{Epoch: 7, Revision: 3, Root: root}, 8},
		"earlier epoch":            {tree.Version{Epoch: 0, Revision: 99, Root: root}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := grown(t, 30)
				p := start(t, h)
				synctest.Wait()
				// Many nodes say the same: one new epoch.
				var wait sync.WaitGroup
				for range 50 {
					wait.Go(func() {
						if err := p.Observe(t.Context(), "n1", c.running); err != nil {
							t.Error(err)
						}
					})
				}
				wait.Wait()
				if h.epoch != c.epoch || len(h.epochs) > 1 {
					t.Fatalf("epoch %d, asked for after %v", h.epoch, h.epochs)
				}
				if got := p.Wanted().Version; got.Epoch != c.epoch || got.Revision != 30 {
					t.Fatalf("wanted %v", got)
				}
				// What the nodes were given in the new epoch is no contradiction.
				if err := p.Observe(t.Context(), "n1", p.Wanted().Version); err != nil || h.epoch != c.epoch {
					t.Fatalf("epoch %d, %v", h.epoch, err)
				}
			})
		})
	}
}

// TestOfManyNodesThatWereAwayTheStoreIsAskedOnce: they run the same old version, and come back
// at the same time; a change made meanwhile does not wait for all of them.
func TestOfManyNodesThatWereAwayTheStoreIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := grown(t, 30)
		old := VersionOf(h.versions[5])
		p := start(t, h)
		synctest.Wait()
		before := h.reads
		var wait sync.WaitGroup
		for range 1000 {
			wait.Go(func() {
				if err := p.Observe(t.Context(), "n", old); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if n := h.reads - before; n > 2 {
			t.Errorf("the head was read %d times", n)
		}
		for revision := range uint64(2 * maxAgreed) {
			if err := p.Observe(t.Context(), "n", tree.Version{Epoch: 0, Revision: revision + 1, Root: old.Root}); err != nil {
				t.Fatal(err)
			}
		}
		if len(p.agreed) != maxAgreed {
			t.Errorf("%d versions are remembered", len(p.agreed))
		}
	})
}

// TestALaterEpochIsAContradictionWhateverItHolds: its nodes take nothing of this one.
func TestALaterEpochIsAContradictionWhateverItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := grown(t, 30)
		same := VersionOf(h.versions[5])
		p := start(t, h)
		synctest.Wait()
		same.Epoch = 7
		if err := p.Observe(t.Context(), "n", same); err != nil || h.epoch != 8 {
			t.Errorf("epoch %d, %v", h.epoch, err)
		}
	})
}

// TestANodeFromBeforeTheHistoryIsNoContradiction: it was away for long. A new epoch would
// be held by nodes that lose nothing.
func TestANodeFromBeforeTheHistoryIsNoContradiction(t *testing.T) {
	for name, trimmed := range map[string]uint64{"some of it": 10, "all of it": 30} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := grown(t, 30)
				h.trimmed = trimmed
				p := start(t, h)
				synctest.Wait()
				for revision := uint64(3); revision <= 10; revision++ {
					v := tree.Version{Epoch: 1, Revision: revision, Root: tree.Sum([]byte("of long ago"))}
					if err := p.Observe(t.Context(), "n", v); err != nil || len(h.epochs) > 0 {
						t.Fatalf("revision %d: %v, epochs %v", revision, err, h.epochs)
					}
				}
			})
		})
	}
}

// TestWhatTheStoreCouldNotSayIsAskedAgain: a contradiction is not forgotten because etcd
// had no leader when it was found.
func TestWhatTheStoreCouldNotSayIsAskedAgain(t *testing.T) {
	contradiction := tree.Version{Epoch: 1, Revision: 3, Root: tree.Sum([]byte("another store"))}
	for name, fails := range map[string]func(h *history, err error){
		"what was":    func(h *history, err error) { h.failPast = err },
		"a new epoch": func(h *history, err error) { h.failNew = err },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := grown(t, 30)
				p := start(t, h)
				synctest.Wait()
				away := errors.New("no leader")
				h.set(func() { fails(h, away) })
				if err := p.Observe(t.Context(), "n", contradiction); !errors.Is(err, away) || h.epoch != 1 {
					t.Fatalf("epoch %d, %v", h.epoch, err)
				}
				h.set(func() { fails(h, nil) })
				if err := p.Observe(t.Context(), "n", contradiction); err != nil || h.epoch != 2 {
					t.Fatalf("epoch %d, %v", h.epoch, err)
				}
			})
		})
	}
}

func TestReplicaThatLagsIsNoContradiction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := grown(t, 30)
		p := start(t, h)
		time.Sleep(time.Second)
		h.set(func() { h.head = &bell.Bell{} }) // events are lost
		next := h.commit(config(t, 2, 5000))
		if err := p.Observe(t.Context(), "n1", VersionOf(next)); err != nil {
			t.Fatal(err)
		}
		if len(h.epochs) > 0 || p.Wanted().Version != VersionOf(next) {
			t.Fatalf("epochs %v, wanted %v", h.epochs, p.Wanted().Version)
		}
		// Known, old and right: nothing to say.
		for _, revision := range []int{31, 30, 16, 15, 2} {
			if err := p.Observe(t.Context(), "n1", VersionOf(h.versions[revision])); err != nil || len(h.epochs) > 0 {
				t.Fatalf("revision %d: %v, epochs %v", revision, err, h.epochs)
			}
		}
		h.set(func() { h.fail = errors.New("no leader") })
		if err := p.Observe(t.Context(), "n1", tree.Version{Epoch: 1, Revision: 99}); err == nil {
			t.Fatal("a store that does not answer proves nothing")
		}
	})
}

func TestHeadThatGoesBackMakesANewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := grown(t, 5)
		p := start(t, h)
		time.Sleep(time.Second)
		h.set(func() { h.versions = h.versions[:3] })
		p.Kick()
		time.Sleep(time.Second)
		if got := p.Wanted().Version; h.epoch != 2 || got.Epoch != 2 || got.Revision != 2 {
			t.Fatalf("epoch %d, wanted %v", h.epoch, got)
		}
	})
}

// TestAHeadThatNoNodeWouldTakeMakesANewEpoch: the store was put back from a backup, and was
// written to since. Nodes go forward within an epoch, and never to an earlier one.
func TestAHeadThatNoNodeWouldTakeMakesANewEpoch(t *testing.T) {
	for name, c := range map[string]struct{ was, is store.Configuration }{
		"another at the same revision": {store.Configuration{Epoch: 1, Revision: 1}, store.Configuration{Epoch: 1, Revision: 1}},
		"an earlier epoch":             {store.Configuration{Epoch: 3, Revision: 1}, store.Configuration{Epoch: 2, Revision: 9}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHistory()
				c.was.Tree, c.is.Tree = config(t, 2, 80), config(t, 2, 81)
				h.epoch, h.versions = c.was.Epoch, append(h.versions, c.was)
				p := start(t, h)
				synctest.Wait()
				if got := p.Wanted().Version; got != VersionOf(c.was) {
					t.Fatalf("wanted %v", got)
				}
				h.set(func() { h.epoch, h.versions = c.is.Epoch, append(h.versions[:1:1], c.is) })
				p.Kick()
				time.Sleep(time.Second)
				want := tree.Version{Epoch: c.was.Epoch + 1, Revision: c.is.Revision, Root: c.is.Tree.Root()}
				if got := p.Wanted().Version; got != want {
					t.Errorf("wanted %v, expected %v", got, want)
				}
			})
		})
	}
}

// TestANewEpochThatFailsIsTriedAgain: until there is one, no node takes what the head holds.
func TestANewEpochThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := grown(t, 5)
		p := start(t, h)
		synctest.Wait()
		h.set(func() { h.versions, h.failNew = h.versions[:3], errors.New("no leader") })
		p.Kick()
		time.Sleep(10 * time.Second)
		var n int
		h.set(func() { n = len(h.epochs) })
		if n < 10 || n > 30 || p.Wanted().Revision != 5 {
			t.Errorf("asked %d times in 10 s, revision %d is wanted", n, p.Wanted().Revision)
		}
		h.set(func() { h.failNew = nil })
		time.Sleep(time.Second)
		if got := p.Wanted().Version; got.Epoch != 2 || got.Revision != 2 {
			t.Errorf("wanted %v", got)
		}
	})
}

func TestWithoutEpochsAContradictionIsAnError(t *testing.T) {
	h := newHistory()
	p := New(Config{Store: h, Logger: slog.New(slog.DiscardHandler)})
	err := p.Observe(t.Context(), "n1", tree.Version{Epoch: 1, Revision: 9, Root: tree.Sum(nil)})
	if !errors.Is(err, ErrContradiction) || p.Counters().Contradictions != 1 {
		t.Fatal(err)
	}
}

func TestAcceptanceOfTheEpochIsNewsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		p, watch := startWatched(t, h)
		<-watch
		if p.Wanted().Accepted {
			t.Fatal("accepted from the start")
		}
		before := p.Wanted()
		h.set(func() { h.accepted = 1; h.head.Ring() })
		<-watch
		if now := p.Wanted(); now.Version != before.Version || !now.Accepted {
			t.Fatalf("wanted %v, accepted %v", now.Version, now.Accepted)
		}
		h.commit(config(t, 1, 80))
		<-watch
		if now := p.Wanted(); now.Revision != 1 || !now.Accepted {
			t.Fatalf("wanted %v, accepted %v", now.Version, now.Accepted)
		}
		// The acceptance is that of one epoch.
		if _, err := h.NewEpoch(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		<-watch
		if now := p.Wanted(); now.Epoch != 2 || now.Accepted {
			t.Fatalf("wanted %v, accepted %v", now.Version, now.Accepted)
		}
		// A head that does not compile here does not stand in its way.
		h.commit(broken(t, tree.Tree{}))
		synctest.Wait()
		time.Sleep(time.Second)
		h.set(func() { h.accepted = 2; h.head.Ring() })
		<-watch
		if now := p.Wanted(); now.Epoch != 2 || now.Revision != 1 || !now.Accepted {
			t.Fatalf("wanted %v, accepted %v", now.Version, now.Accepted)
		}
	})
}
