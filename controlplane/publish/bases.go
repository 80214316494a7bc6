package publish

import (
	"context"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// baseTimeout bounds the loading of a base: an etcd that does not answer must not
// keep a node from its configuration, which is at hand as a whole.
const baseTimeout = 3 * time.Second

// kept is a version that may be the base of a delta. One that was found in the
// history has its tree loaded when it is first asked for.
type kept struct {
	version tree.Version

	loading chan struct{} // holds a token while somebody looks or loads
	// guarded by loading
	loaded bool
	tree   tree.Tree
}

func newKept(v tree.Version) *kept { return &kept{version: v, loading: make(chan struct{}, 1)} }

// keep puts a version in front. The caller holds p.mu.
func (p *Publisher) keep(k *kept) {
	if len(p.kept) == keptVersions {
		p.kept = slices.Delete(p.kept, keptVersions-1, keptVersions)
	}
	p.kept = slices.Insert(p.kept, 0, k)
}

// loadHistory finds the versions before head, or before those that are kept, so that nodes
// that were there before this process get deltas, and unchanged ones nothing. Without the
// history they get whole configurations, which is right, only dearer; so it is tried again
// until it was read once. The caller holds the lock.
func (p *Publisher) loadHistory(ctx context.Context, head tree.Version) {
	if p.pastRead {
		return
	}
	p.mu.Lock()
	before, room := head.Revision, keptVersions-1
	if n := len(p.kept); n > 0 {
		before, room = p.kept[n-1].version.Revision, keptVersions-n
	}
	p.mu.Unlock()
	if before == 0 || room == 0 {
		p.pastRead = true
		return
	}
	changes, err := p.c.Store.History(ctx, before, room)
	if err != nil {
		p.log.Warn("publish: history not read; nodes that are behind get whole configurations", "error", err)
		return
	}
	p.pastRead = true
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		root, err := tree.HashFromBytes(c.GetRootAfter())
		if err != nil {
			continue
		}
		p.kept = append(p.kept, newKept(tree.Version{Epoch: c.GetEpoch(), Revision: c.GetRevision(), Root: root}))
	}
}

// Base is the tree with the given root, if it is that of one of the last versions
// and the store gives it within 3 s.
func (p *Publisher) Base(ctx context.Context, root tree.Hash) (tree.Tree, bool) {
	if root == tree.EmptyRoot() {
		return tree.Tree{}, true
	}
	p.mu.Lock()
	i := slices.IndexFunc(p.kept, func(k *kept) bool { return k.version.Root == root })
	var k *kept
	if i >= 0 {
		k = p.kept[i]
	}
	p.mu.Unlock()
	if k == nil {
		return tree.Tree{}, false
	}
	return p.load(ctx, k)
}

func (p *Publisher) load(ctx context.Context, k *kept) (tree.Tree, bool) {
	ctx, cancel := context.WithTimeout(ctx, baseTimeout)
	defer cancel()
	select {
	case k.loading <- struct{}{}:
		defer func() { <-k.loading }()
	case <-ctx.Done():
		return tree.Tree{}, false // whoever loads it says why
	}
	if k.loaded {
		return k.tree, true
	}
	configuration, _, err := p.c.Store.At(ctx, k.version.Revision)
	if err != nil {
		p.log.Warn("publish: base not loaded; the node gets the whole configuration", "revision", k.version.Revision, "error", err)
		return tree.Tree{}, false
	}
	if configuration.Tree.Root() != k.version.Root {
		return tree.Tree{}, false
	}
	k.tree, k.loaded = configuration.Tree, true
	p.counts.basesLoaded.Add(1)
	return k.tree, true
}
