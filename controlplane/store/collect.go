package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// CollectInterval is how often CollectGarbage is worth its reads.
const CollectInterval = 6 * time.Hour

// listPage is how many keys of blobs are listed at a time: 100 KiB.
const listPage = 1000

// Collected says what a garbage collection did.
type Collected struct {
	Changes   int // records that left the history
	Blobs     int // blobs deleted
	Reachable int // blobs that kept revisions need
	Young     int // unreachable, but too young or written since
}

// CollectGarbage shortens the history and deletes the blobs that nothing reaches
// any more; while etcd's space is short, those too that are young. Any replica may
// call it at any time, also several at once; every CollectInterval is enough where
// space is not short. If anything that should be reachable is missing it deletes
// nothing and returns ErrDamaged; ErrFull: etcd is, and none can begin.
func (s *Store) CollectGarbage(ctx context.Context) (Collected, error) {
	var c Collected
	err := s.collect(ctx, &c)
	if err != nil {
		err = fmt.Errorf("store: garbage collection: %w", full(err))
	}
	s.log.Info("store: garbage collected", "changes", c.Changes, "blobs", c.Blobs,
		"reachable", c.Reachable, "young", c.Young, "error", err)
	return c, err
}

func (s *Store) collect(ctx context.Context, c *Collected) error {
	space, err := s.Space(ctx)
	if err != nil {
		s.log.Warn("store: garbage is collected as if etcd had room", "error", err)
	}
	if c.Changes, err = s.trimHistory(ctx, space); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	barrier, err := s.beginSweep(ctx)
	if err != nil {
		return fmt.Errorf("sweep key: %w", err)
	}
	reachable, err := s.mark(ctx)
	if errors.Is(err, ErrDamaged) && s.swept(ctx, barrier) {
		// Another collection began since, and may have shortened the history
		// that was being marked. It does the work.
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	c.Reachable = len(reachable)
	if err := s.sweep(ctx, barrier, reachable, s.spared(space), c); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	s.mu.Lock()
	s.refused = false
	s.mu.Unlock()
	return nil
}

// spared is the writing time from which on blobs are spared.
func (s *Store) spared(space Space) (fromUnixMs int64) {
	if space.Short() {
		return math.MaxInt64
	}
	return s.options.Now().Add(-s.options.MinBlobAge).UnixMilli()
}

// trimHistory deletes the oldest change records.
func (s *Store) trimHistory(ctx context.Context, space Space) (deleted int, err error) {
	h, err := s.readHead(ctx)
	if err != nil {
		return 0, err
	}
	kept, err := s.keptChanges(ctx, h.head.GetRevision(), space)
	if err != nil {
		return 0, err
	}
	for { // a page at a time
		page, err := s.firstChanges(ctx, 0)
		if err != nil {
			return deleted, err
		}
		n := 0
		for n < len(page) && page[n].GetRevision() < kept {
			n++
		}
		if n == 0 {
			return deleted, nil
		}
		r, err := s.kv.Delete(ctx, s.keys.changes(), clientv3.WithRange(s.keys.change(page[n-1].GetRevision()+1)))
		if err != nil {
			return deleted, err
		}
		deleted += int(r.Deleted)
	}
}

// keptChanges is the first revision whose change record is kept: by number and age, and
// then by what they wrote.
func (s *Store) keptChanges(ctx context.Context, newest uint64, space Space) (from uint64, err error) {
	most := uint64(s.options.HistoryBytes) //nolint:gosec // positive
	if space.Quota > 0 {
		most = min(most, uint64(space.Quota/historyParts))
	}
	oldest := s.options.Now().Add(-s.options.HistoryAge).UnixMilli()
	expired := func(c *fleetv1.Change) bool {
		behind := newest - min(newest, c.GetRevision())
		return behind >= s.historyFloor && (behind >= uint64(s.options.HistoryChanges) || c.GetTimeUnixMs() < oldest) //nolint:gosec // positive
	}
	type weight struct{ revision, bytes uint64 }
	var kept []weight // oldest first
	sum := uint64(0)
	for next := uint64(0); ; {
		page, err := s.firstChanges(ctx, next)
		if err != nil {
			return 0, err
		}
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			if len(kept) == 0 && expired(c) {
				continue
			}
			kept = append(kept, weight{c.GetRevision(), c.GetBlobBytes()})
			sum += c.GetBlobBytes()
		}
		next = page[len(page)-1].GetRevision() + 1
	}
	for len(kept) > 1 && sum > most {
		sum -= kept[0].bytes
		kept = kept[1:]
	}
	if len(kept) == 0 {
		return 0, nil
	}
	return kept[0].revision, nil
}

// firstChanges reads a page of the oldest records from a revision on.
func (s *Store) firstChanges(ctx context.Context, from uint64) ([]*fleetv1.Change, error) {
	r, err := s.kv.Get(ctx, s.keys.change(from),
		clientv3.WithRange(clientv3.GetPrefixRangeEnd(s.keys.changes())), clientv3.WithLimit(MaxHistoryPage))
	if err != nil {
		return nil, err
	}
	page := make([]*fleetv1.Change, len(r.Kvs))
	for i, kv := range r.Kvs {
		if page[i], err = changeOf(kv); err != nil {
			return nil, err
		}
	}
	return page, nil
}

// beginSweep writes the sweep key and returns the revision of etcd at which it
// did: every commit from then on either is seen by mark, or has written its
// blobs later.
func (s *Store) beginSweep(ctx context.Context) (int64, error) {
	value, err := marshal(&fleetv1.SweepRecord{TimeUnixMs: s.options.Now().UnixMilli()})
	if err != nil {
		return 0, err
	}
	r, err := s.kv.Put(ctx, s.keys.sweep(), value)
	if err != nil {
		return 0, err
	}
	return r.Header.GetRevision(), nil
}

// swept reports whether another collection began since.
func (s *Store) swept(ctx context.Context, barrier int64) bool {
	h, err := s.readHead(ctx)
	return err == nil && h.at.sweep != barrier
}

// mark finds every blob that the head or the history reaches.
func (s *Store) mark(ctx context.Context) (map[tree.Hash]struct{}, error) {
	roots, err := s.roots(ctx)
	if err != nil {
		return nil, err
	}
	reachable := make(map[tree.Hash]struct{})
	var frontier []tree.Hash
	reach := func(hashes []tree.Hash, enter bool) {
		for _, h := range hashes {
			if _, known := reachable[h]; known || h == tree.EmptyRoot() {
				continue
			}
			reachable[h] = struct{}{}
			if enter {
				frontier = append(frontier, h)
			}
		}
	}
	reach(roots, true)
	for len(frontier) > 0 {
		nodes, err := s.getBlobs(ctx, frontier)
		if err != nil {
			return nil, err
		}
		read := frontier
		frontier = nil
		for i, enc := range nodes {
			branches, resources, err := tree.References(enc)
			if err != nil {
				return nil, fmt.Errorf("%w: blob %s: %w", ErrDamaged, read[i], err)
			}
			reach(branches, true)
			reach(resources, false)
		}
	}
	return reachable, nil
}

// roots are those of the head, and before and after each change that is kept.
func (s *Store) roots(ctx context.Context) ([]tree.Hash, error) {
	h, err := s.readHead(ctx)
	if err != nil {
		return nil, err
	}
	if h.head == nil {
		return nil, fmt.Errorf("%w: there is no head", ErrDamaged)
	}
	raw := [][]byte{h.head.GetRoot()}
	for from := uint64(0); ; {
		page, err := s.firstChanges(ctx, from)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for _, change := range page {
			raw = append(raw, change.GetRootBefore(), change.GetRootAfter())
		}
		from = page[len(page)-1].GetRevision() + 1
	}
	roots := make([]tree.Hash, len(raw))
	for i, b := range raw {
		if roots[i], err = tree.HashFromBytes(b); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return roots, nil
}

// sweep deletes page by page what was written before the barrier and is not
// reachable.
func (s *Store) sweep(ctx context.Context, barrier int64, reachable map[tree.Hash]struct{}, spared int64, c *Collected) error {
	end := clientv3.GetPrefixRangeEnd(s.keys.blobs())
	for from := s.keys.blobs(); ; {
		r, err := s.kv.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		var garbage []tree.Hash
		for _, kv := range r.Kvs {
			h, err := s.keys.blobHash(kv.Key)
			if err != nil {
				return fmt.Errorf("%w: key %q: %w", ErrDamaged, kv.Key, err)
			}
			if _, needed := reachable[h]; needed {
				continue
			}
			if kv.ModRevision >= barrier {
				c.Young++
				continue
			}
			garbage = append(garbage, h)
		}
		if err := s.deleteOld(ctx, barrier, garbage, spared, c); err != nil {
			return err
		}
		if !r.More {
			return nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

// deleteOld deletes those that are old enough, each on condition that it is
// still what was looked at.
func (s *Store) deleteOld(ctx context.Context, barrier int64, garbage []tree.Hash, spared int64, c *Collected) error {
	var mu sync.Mutex
	var old []clientv3.Op
	err := s.readBlobs(ctx, garbage, func(i int, v *blobValue) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case v == nil: // another replica collects too
		case v.mod >= barrier || v.envelope.GetWrittenAtUnixMs() > spared:
			c.Young++
		default:
			key := s.keys.blob(garbage[i])
			seen := clientv3.Compare(clientv3.ModRevision(key), "=", v.mod)
			old = append(old, clientv3.OpTxn([]clientv3.Cmp{seen}, []clientv3.Op{clientv3.OpDelete(key)}, nil))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for len(old) > 0 {
		n := min(batchOps, len(old))
		r, err := s.kv.Txn(ctx).Then(old[:n]...).Commit()
		if err != nil {
			return err
		}
		for _, one := range r.Responses {
			if one.GetResponseTxn().GetSucceeded() {
				c.Blobs++
			} else {
				c.Young++
			}
		}
		old = old[n:]
	}
	return nil
}
