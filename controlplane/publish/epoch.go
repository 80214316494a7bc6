package publish

import (
	"context"
	"fmt"
	"slices"

	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// maxAgreed bounds the versions that are remembered to agree with the store. A fleet that was
// away for long runs few.
const maxAgreed = 64

// Observe takes what a node says it runs, and asks for a new epoch if that
// proves the store to be another one than the node's version came from: the same
// epoch with a higher revision, or with another digest at the same revision. A
// store that was put back from a backup would otherwise count its revisions
// anew, and nodes would refuse them as old, or take two contents for one.
//
// A replica that merely lags is not a contradiction: the head is read again
// before anything is concluded. The error says what could not be found out or
// done; the node may be served all the same.
func (p *Publisher) Observe(ctx context.Context, node string, running tree.Version) error {
	if running.IsZero() || p.knows(running) {
		return nil
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if p.knows(running) { // another node's was the same
		return nil
	}
	if err := p.refresh(ctx); err != nil {
		return err
	}
	if p.knows(running) {
		return nil
	}
	configuration, err := p.c.Store.Current(ctx)
	if err != nil {
		return err
	}
	head := VersionOf(configuration)
	contradicts, err := p.contradicts(ctx, running, head)
	if err == nil && !contradicts {
		p.agree(running)
	}
	if err != nil || !contradicts {
		return err
	}
	p.log.Error("publish: a node runs a version that this store never made", "node", node, "running", running, "head", head)
	if err := p.newEpoch(ctx, running, head); err != nil {
		return err
	}
	return p.refresh(ctx)
}

// knows reports whether the version is one of the last, or was found to agree with the store:
// it does so for as long as that is the same one.
func (p *Publisher) knows(v tree.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.agreed, v) || slices.ContainsFunc(p.kept, func(k *kept) bool { return k.version == v })
}

// agree remembers that the version is none that contradicts the store.
func (p *Publisher) agree(v tree.Version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.agreed) == maxAgreed {
		p.agreed = slices.Delete(p.agreed, 0, 1)
	}
	p.agreed = append(p.agreed, v)
}

func (p *Publisher) contradicts(ctx context.Context, running, head tree.Version) (bool, error) {
	switch {
	case running.Epoch < head.Epoch:
		return false, nil // an epoch that is over
	case running.Epoch > head.Epoch || running.Revision > head.Revision:
		return true, nil
	case running.Revision == head.Revision:
		return running.Root != head.Root, nil
	}
	changes, err := p.c.Store.History(ctx, running.Revision+1, 1)
	if err != nil {
		return false, err
	}
	if len(changes) == 0 || changes[0].GetRevision() != running.Revision {
		return false, nil // older than the history: nothing can be said
	}
	root, err := tree.HashFromBytes(changes[0].GetRootAfter())
	if err != nil {
		return false, err
	}
	return root != running.Root, nil
}

// newEpoch asks for an epoch after both. The caller holds the lock, so that of
// many nodes that show the same contradiction only the first does.
func (p *Publisher) newEpoch(ctx context.Context, seen, head tree.Version) error {
	p.counts.contradictions.Add(1)
	if p.c.Epochs == nil {
		return fmt.Errorf("%w: seen %v, head %v", ErrContradiction, seen, head)
	}
	epoch, err := p.c.Epochs.NewEpoch(ctx, max(seen.Epoch, head.Epoch))
	if err != nil {
		return fmt.Errorf("new epoch: %w", err)
	}
	p.log.Warn("publish: another epoch", "epoch", epoch, "seen", seen, "head", head)
	return nil
}
