package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func wipe(t testing.TB, prefix string) {
	t.Helper()
	if _, err := client.Delete(t.Context(), prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
}

func TestAWipedStoreBeginsAHigherEpoch(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	before := commit(t, s, current(t, s), routes(tree.Tree{}, 10, "first"))
	wipe(t, prefix)
	// To a replica that runs on, and to one that starts with a clock behind.
	for name, replica := range map[string]*Store{
		"running": s,
		"new": open(t, prefix, func(set *setup) {
			set.options.EpochFloor = before.Epoch
			set.options.Now = func() time.Time { return time.Unix(1, 0) }
		}),
	} {
		now := current(t, replica)
		if now.Epoch <= before.Epoch || now.Revision != 0 || now.Tree.Len() != 0 {
			t.Fatalf("%s: epoch %d after %d, revision %d", name, now.Epoch, before.Epoch, now.Revision)
		}
	}
	if _, err := s.Commit(t.Context(), before, routes(tree.Tree{}, 3, "x"), Meta{}); !errors.Is(err, ErrConflict) {
		t.Fatalf("commit on a base of the epoch before: %v", err)
	}
	intact(t, prefix, commit(t, s, current(t, s), routes(tree.Tree{}, 10, "second")))
}

func TestAnotherClusterIDBeginsAnEpochAndKeepsTheConfiguration(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	before := commit(t, s, current(t, s), routes(tree.Tree{}, 10, "first"))
	// As after a restore of etcd from a backup, which makes a new cluster.
	record, err := marshal(&fleetv1.EpochRecord{Epoch: before.Epoch, ClusterId: 4711})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), s.keys.epoch(), record); err != nil {
		t.Fatal(err)
	}
	restored := open(t, prefix, nil)
	now := current(t, restored)
	if now.Epoch <= before.Epoch {
		t.Fatalf("epoch %d after %d", now.Epoch, before.Epoch)
	}
	sameConfiguration(t, now, Configuration{Epoch: now.Epoch, Revision: before.Revision, Tree: before.Tree})
	sameConfiguration(t, current(t, s), now)
	again := current(t, open(t, prefix, nil))
	sameConfiguration(t, again, now) // once
}

func TestTheFloorAloneBeginsNoEpoch(t *testing.T) {
	prefix := newPrefix(t)
	before := current(t, open(t, prefix, nil))
	s := open(t, prefix, func(set *setup) { set.options.EpochFloor = before.Epoch + 1_000_000_000 })
	sameConfiguration(t, current(t, s), before)
}

func TestNewEpochIsAboveWhatWasSeen(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	before := commit(t, s, current(t, s), routes(tree.Tree{}, 10, "first"))
	seen := before.Epoch + 1_000_000_000
	stores := []*Store{s, open(t, prefix, nil), open(t, prefix, nil)}
	epochs := make([]uint64, len(stores))
	var wg sync.WaitGroup
	for i, s := range stores { // all replicas hear of it at once
		wg.Go(func() {
			var err error
			if epochs[i], err = s.NewEpoch(t.Context(), seen); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, e := range epochs {
		if e != seen+1 {
			t.Fatalf("epochs %d, want %d", epochs, seen+1)
		}
	}
	intact(t, prefix, Configuration{Epoch: seen + 1, Revision: before.Revision, Tree: before.Tree})
	if e, err := s.NewEpoch(t.Context(), before.Epoch); err != nil || e != seen+1 {
		t.Fatalf("an epoch that is over begins a new one: %d, %v", e, err)
	}
	history, err := s.History(t.Context(), 0, 0)
	if err != nil || len(history) != 1 {
		t.Fatalf("the history is %v, %v", history, err)
	}
	next := commit(t, s, current(t, s), tree.Tree{})
	if next.Epoch != seen+1 || next.Revision != before.Revision+1 {
		t.Fatalf("the next commit is %d/%d", next.Epoch, next.Revision)
	}
}

func TestAcceptanceIsOfOneEpochAndStays(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	first := commit(t, s, current(t, s), routes(tree.Tree{}, 10, "first"))
	if e, err := s.Epoch(t.Context()); err != nil || e.Number != first.Epoch || e.Accepted || e.ClusterID == 0 {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := s.AcceptEpoch(t.Context(), first.Epoch-1); !errors.Is(err, ErrConflict) {
		t.Fatalf("an epoch that is not in force: %v", err)
	}
	if current(t, s).Accepted {
		t.Fatal("accepted")
	}
	other := open(t, prefix, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := other.Watch(ctx)
	<-watch       // it watches now
	for range 2 { // the second time nothing changes
		if e, err := s.AcceptEpoch(t.Context(), first.Epoch); err != nil || !e.Accepted || e.Number != first.Epoch {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	<-watch
	// To other replicas, after a restart, and for what is committed on it.
	for name, replica := range map[string]*Store{"other": other, "new": open(t, prefix, nil)} {
		now := current(t, replica)
		sameConfiguration(t, now, first)
		if !now.Accepted {
			t.Errorf("%s: not accepted", name)
		}
	}
	// A commit on what was read before goes through: its base is what is wanted.
	next := commit(t, s, first, routes(tree.Tree{}, 3, "second"))
	if now := current(t, other); !now.Accepted || now.Revision != next.Revision {
		t.Fatalf("%d/%d accepted %v", now.Epoch, now.Revision, now.Accepted)
	}
	if _, err := s.NewEpoch(t.Context(), first.Epoch); err != nil {
		t.Fatal(err)
	}
	if now := current(t, s); now.Epoch <= first.Epoch || now.Accepted {
		t.Fatalf("epoch %d accepted %v", now.Epoch, now.Accepted)
	}
	if _, err := s.AcceptEpoch(t.Context(), first.Epoch); !errors.Is(err, ErrConflict) {
		t.Fatalf("an epoch that is over: %v", err)
	}
}

func TestAcceptanceAndCommitsDoNotSpoilEachOther(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	epoch := current(t, s).Epoch
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := s.AcceptEpoch(t.Context(), epoch); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range 20 {
		commit(t, s, current(t, s), routes(tree.Tree{}, 3, fmt.Sprint(i)))
	}
	wg.Wait()
	if now := current(t, s); now.Revision != 20 || !now.Accepted {
		t.Fatalf("revision %d, accepted %v", now.Revision, now.Accepted)
	}
}

func TestAWipedStoreIsNotAccepted(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	before := current(t, s).Epoch
	if _, err := s.AcceptEpoch(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	wipe(t, prefix)
	if _, err := s.AcceptEpoch(t.Context(), before); !errors.Is(err, ErrConflict) {
		t.Fatalf("what was wiped is accepted: %v", err)
	}
	if e, err := s.Epoch(t.Context()); err != nil || e.Number <= before || e.Accepted {
		t.Fatalf("%+v, %v", e, err)
	}
}
