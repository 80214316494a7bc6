package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestHistoryComesNewestFirstInPages(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	if history, err := s.History(t.Context(), 0, 10); err != nil || len(history) != 0 {
		t.Fatalf("of an empty store: %v, %v", history, err)
	}
	head := current(t, s)
	for i := range 25 {
		head = commit(t, s, head, head.Tree.Set(routeKey(i), []byte("x")))
	}
	var got []uint64
	for before := uint64(0); ; {
		page, err := s.History(t.Context(), before, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, change := range page {
			got = append(got, change.GetRevision())
		}
		before = page[len(page)-1].GetRevision()
	}
	if len(got) != 25 || got[0] != 25 || got[24] != 1 {
		t.Fatalf("revisions %v", got)
	}
	for _, test := range []struct {
		before      uint64
		limit, want int
	}{{1, 10, 0}, {2, 10, 1}, {1000, 3, 3}, {0, 0, 25}, {0, -1, 25}, {0, 1 << 30, 25}} {
		if page, err := s.History(t.Context(), test.before, test.limit); err != nil || len(page) != test.want {
			t.Errorf("%d before %d: %d, %v", test.limit, test.before, len(page), err)
		}
	}
}

func TestAtTellsWhatIsNotThere(t *testing.T) {
	s := open(t, newPrefix(t), nil)
	head := commit(t, s, current(t, s), routes(tree.Tree{}, 3, "first"))
	if _, _, err := s.At(t.Context(), 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("a revision to come: %v", err)
	}
	empty, change, err := s.At(t.Context(), 0)
	if err != nil || empty.Tree.Len() != 0 || empty.Epoch != head.Epoch || change == nil {
		t.Errorf("revision 0: %v, %v, %v", empty, change, err)
	}
	if back := commit(t, s, head, empty.Tree); back.Tree.Len() != 0 || back.Revision != 2 {
		t.Errorf("rolled back to %d resources", back.Tree.Len())
	}
}

// await takes one signal.
func await(t testing.TB, signals <-chan struct{}) {
	t.Helper()
	select {
	case _, ok := <-signals:
		if !ok {
			t.Fatal("the channel is closed")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no signal")
	}
}

func TestWatchTellsOfAForeignCommit(t *testing.T) {
	prefix := newPrefix(t)
	s, other := open(t, prefix, nil), open(t, prefix, nil)
	ctx, cancel := context.WithCancel(t.Context())
	signals := s.Watch(ctx)
	await(t, signals) // it watches now
	head := current(t, other)
	for i := range 5 {
		head = commit(t, other, head, head.Tree.Set(routeKey(i), []byte("x")))
		await(t, signals)
	}
	// Signals that nobody took are one. The read after it sees everything.
	for i := range 20 {
		head = commit(t, other, head, head.Tree.Set(routeKey(i), []byte("y")))
	}
	for taken := 0; ; taken++ {
		await(t, signals)
		if now := current(t, s); now.Revision == head.Revision {
			break
		}
		if taken > 20 {
			t.Fatal("more signals than commits")
		}
	}
	cancel()
	for range signals { // is closed
	}
}

func TestWatchTicksWhenNothingHappens(t *testing.T) {
	s := open(t, newPrefix(t), func(set *setup) { set.options.Tick = 5 * time.Millisecond })
	ctx, cancel := context.WithCancel(t.Context())
	signals := s.Watch(ctx)
	for range 5 {
		await(t, signals)
	}
	cancel()
	for range signals {
	}
}

func TestNodeRecordsAreCreatedReplacedAndDeleted(t *testing.T) {
	s := open(t, newPrefix(t), nil)
	ctx := t.Context()
	if records, revision, err := s.Nodes(ctx); err != nil || len(records) != 0 || revision != 0 {
		t.Fatalf("of an empty store: %v at %d, %v", records, revision, err)
	}
	a := &fleetv1.NodeRecord{NodeId: "a", Labels: map[string]string{"zone": "x"}, FirstSeenUnixMs: 7}
	seen, err := s.PutNode(ctx, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutNode(ctx, a, 0); !errors.Is(err, ErrExists) {
		t.Errorf("created twice: %v", err)
	}
	if _, err := s.PutNode(ctx, &fleetv1.NodeRecord{NodeId: "b/c"}, 0); err != nil {
		t.Error(err)
	}
	record, got, err := s.Node(ctx, "a")
	if err != nil || got != seen {
		t.Fatalf("seen %d, want %d: %v", got, seen, err)
	}
	record.Labels["zone"] = "y"
	next, err := s.PutNode(ctx, record, seen)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutNode(ctx, a, seen); !errors.Is(err, ErrConflict) {
		t.Errorf("replaced what changed: %v", err)
	}
	if _, err := s.PutNode(ctx, &fleetv1.NodeRecord{NodeId: "new"}, next); !errors.Is(err, ErrConflict) {
		t.Errorf("replaced what is not there: %v", err)
	}
	records, _, err := s.Nodes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := []*fleetv1.NodeRecord{record, {NodeId: "b/c"}}
	if diff := cmp.Diff(want, records, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if err := s.DeleteNode(ctx, "a"); err != nil {
		t.Error(err)
	}
	if err := s.DeleteNode(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, _, err := s.Node(ctx, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("read after the deletion: %v", err)
	}
	if _, err := s.PutNode(ctx, &fleetv1.NodeRecord{}, 0); err == nil {
		t.Error("a node without id is accepted")
	}
}

func TestNodeRecordsAreOutsideOfTheTree(t *testing.T) {
	s := open(t, newPrefix(t), nil)
	head := current(t, s)
	if _, err := s.PutNode(t.Context(), &fleetv1.NodeRecord{NodeId: "a"}, 0); err != nil {
		t.Fatal(err)
	}
	now := current(t, s)
	sameConfiguration(t, now, head)
	if now.at != head.at {
		t.Fatal("the head was written")
	}
}

func TestTheRevisionOfTheFleetGrowsWithEachChange(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, nil)
	ctx := t.Context()
	last := uint64(0)
	grows := func(what string) {
		t.Helper()
		_, revision, err := s.Nodes(ctx)
		if err != nil || revision <= last {
			t.Fatalf("%s: revision %d after %d, %v", what, revision, last, err)
		}
		last = revision
	}
	seen, err := s.PutNode(ctx, &fleetv1.NodeRecord{NodeId: "a"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	grows("created")
	if _, err := s.PutNode(ctx, &fleetv1.NodeRecord{NodeId: "a"}, seen); err != nil {
		t.Fatal(err)
	}
	grows("replaced")
	if err := s.DeleteNode(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	grows("deleted")
	commit(t, s, current(t, s), routes(tree.Tree{}, 1, "first"))
	if _, revision, err := s.Nodes(ctx); err != nil || revision != last {
		t.Fatalf("a commit moved the revision of the fleet: %d after %d, %v", revision, last, err)
	}
	wipe(t, prefix)
	s.options.Now = func() time.Time { return time.Now().Add(time.Second) } // wiping takes longer than here
	if _, err := s.PutNode(ctx, &fleetv1.NodeRecord{NodeId: "a"}, 0); err != nil {
		t.Fatal(err)
	}
	grows("created after the store was wiped")
}

func TestConcurrentNodesAreAllRecorded(t *testing.T) {
	prefix := newPrefix(t)
	var wg sync.WaitGroup
	for i := range 6 {
		s := open(t, prefix, nil)
		wg.Go(func() {
			for n := range 5 {
				id := fmt.Sprintf("node-%d-%d", i, n)
				for {
					_, err := s.PutNode(t.Context(), &fleetv1.NodeRecord{NodeId: id}, 0)
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	records, _, err := open(t, prefix, nil).Nodes(t.Context())
	if err != nil || len(records) != 30 {
		t.Fatalf("%d records, %v", len(records), err)
	}
}

func TestWatchNodesTellsOfEachKindOfChange(t *testing.T) {
	prefix := newPrefix(t)
	s, other := open(t, prefix, nil), open(t, prefix, nil)
	ctx, cancel := context.WithCancel(t.Context())
	signals := s.WatchNodes(ctx)
	await(t, signals)
	if _, err := other.PutNode(t.Context(), &fleetv1.NodeRecord{NodeId: "a"}, 0); err != nil {
		t.Fatal(err)
	}
	await(t, signals)
	if err := other.DeleteNode(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	await(t, signals)
	cancel()
	for range signals {
	}
}
