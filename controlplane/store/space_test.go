package store

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/proxyfleet/proxyfleet/controlplane/embedded"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// bulk is a configuration of some MiB of which every edition is another.
func bulk(mib int, edition byte) (t tree.Tree) {
	for i := range 8 * mib {
		t = t.Set(routeKey(i), bytes.Repeat([]byte{edition, byte(i)}, 64<<10))
	}
	return t
}

// counted waits until what was written counts: etcd writes its file ten times a second,
// and here a tenth of a second is enough to fill the whole reserve.
func counted(t *testing.T, s *Store) {
	t.Helper()
	s.mu.Lock()
	before, written := s.space.InUse, s.written
	s.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		now, err := s.Space(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%v, %v, of %d bytes written", now, err, written)
		}
		if now.InUse >= before+written/2 {
			return
		}
	}
}

// TestAnEtcdThatRunsFullIsNoDeadEnd: changes are refused while there is room for a
// collection to begin, and it spares nothing for its youth.
func TestAnEtcdThatRunsFullIsNoDeadEnd(t *testing.T) {
	const quota = 16 << 20
	etcd, err := embedded.Start(t.Context(), embedded.Options{DataDir: t.TempDir(), QuotaBytes: quota})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	}()
	s, err := Open(t.Context(), etcd.Client(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Space(t.Context()); err != nil {
		t.Fatal(err)
	}
	head := current(t, s)
	refused := error(nil)
	for i := byte(0); refused == nil && i < 64; i++ {
		var next Configuration
		if next, refused = s.Commit(t.Context(), head, bulk(2, i), Meta{}); refused == nil {
			head = next
			counted(t, s)
		}
	}
	if !errors.Is(refused, ErrFull) {
		t.Fatalf("nothing was refused for want of room: %v", refused)
	}
	space, err := s.Space(t.Context())
	if err != nil || !space.Short() || space.Quota != quota {
		t.Fatalf("%+v, %v", space, err)
	}
	if space.Full { // the file may be, by pieces that are free and too small
		if err := etcd.Reclaim(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.Refusals():
	default:
		t.Error("nobody is told that a change was refused")
	}
	if !space.Refused {
		t.Error("that a change was refused does not make it short")
	}
	if c, err := s.CollectGarbage(t.Context()); err != nil || c.Changes == 0 || c.Blobs == 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	if err := etcd.Reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	commit(t, s, head, bulk(2, 64))
	// What is left of the history is whole.
	history, err := s.History(t.Context(), 0, 0)
	if err != nil || len(history) < 2 {
		t.Fatalf("%d changes are left, %v", len(history), err)
	}
	for _, change := range history {
		if _, _, err := s.At(t.Context(), change.GetRevision()); err != nil {
			t.Error(err)
		}
	}
}

// TestAFullEtcdIsOpened: whoever makes room in it does so after that.
func TestAFullEtcdIsOpened(t *testing.T) {
	etcd, err := embedded.Start(t.Context(), embedded.Options{DataDir: t.TempDir(), QuotaBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := etcd.Close(); err != nil {
			t.Error(err)
		}
	}()
	key, err := seal.Parse(seal.Generate())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), etcd.Client(), Options{Seal: key})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); !errors.Is(err, rpctypes.ErrNoSpace) && time.Now().Before(deadline); {
		_, err = etcd.Client().Put(t.Context(), "other", strings.Repeat("x", 256<<10))
	}
	if _, err := s.PutNode(t.Context(), &fleetv1.NodeRecord{NodeId: "a"}, 0); !errors.Is(err, ErrFull) {
		t.Errorf("a write: %v", err)
	}
	again, err := Open(t.Context(), etcd.Client(), Options{Seal: key})
	if err != nil {
		t.Fatalf("opened anew: %v", err)
	}
	if space, err := again.Space(t.Context()); err != nil || !space.Full {
		t.Errorf("%+v, %v", space, err)
	}
	current(t, again)
}

func TestHistoryIsTrimmedByBytes(t *testing.T) {
	prefix := newPrefix(t)
	s := open(t, prefix, func(s *setup) { s.options.HistoryBytes = 3 << 20 })
	head := current(t, s)
	for i := range 6 {
		head = commit(t, s, head, bulk(1, byte(i)))
	}
	if c := collect(t, s); c.Changes != 4 { // each is a little more than 1 MiB
		t.Errorf("%+v", c)
	}
	s.options.HistoryBytes = 1
	if c := collect(t, s); c.Changes != 1 {
		t.Errorf("the newest is kept whatever it wrote: %+v", c)
	}
	if _, _, err := s.At(t.Context(), head.Revision); err != nil {
		t.Error(err)
	}
	intact(t, prefix, head)
}
