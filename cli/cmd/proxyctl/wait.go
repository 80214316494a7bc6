package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// lookInterval is how often the fleet is looked at when no event says that it
	// changed: it heals lost events.
	lookInterval = time.Second
	// reconnectPause stands between two attempts to hear events.
	reconnectPause = 500 * time.Millisecond
	// maxNodesListed bounds how many nodes are named one by one.
	maxNodesListed = 20
)

// compareVersions orders versions by epoch and revision.
func compareVersions(x, y api.Version) int {
	return cmp.Or(cmp.Compare(x.Epoch, y.Epoch), cmp.Compare(x.Revision, y.Revision))
}

// runs reports whether a node runs the wanted version or a later one.
func runs(n api.NodeStatus, want api.Version) bool {
	if n.State == api.Drift {
		return false
	}
	if n.Running != nil && compareVersions(*n.Running, want) >= 0 {
		return true
	}
	// Two versions with the same content need no delivery.
	return n.State == api.Synced && compareVersions(n.Wanted, want) >= 0
}

// refuses reports whether a node has refused the wanted version or a later one.
func refuses(n api.NodeStatus, want api.Version) bool {
	return n.State == api.Rejected && compareVersions(n.Wanted, want) >= 0
}

// counts reports whether a change has to reach the node: one that is neither
// here nor expected is not waited for.
func counts(n api.NodeStatus) bool { return n.Connected || n.Expected }

// waitForNodes waits until every node runs the version or a later one. A node
// that refuses it ends the waiting at once.
func (a *app) waitForNodes(ctx context.Context, c *client.Client, want api.Version, timeout time.Duration) error {
	return a.newProgress(want).run(ctx, c, timeout)
}

func (a *app) newProgress(want api.Version) *waitProgress {
	return &waitProgress{app: a, want: want, began: a.now(), told: map[string]string{}}
}

// run looks until the waiting is over.
func (p *waitProgress) run(ctx context.Context, c *client.Client, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	looks, stop := watchFleet(ctx, c)
	defer stop()
	for {
		list, err := c.Nodes(ctx)
		switch {
		case err == nil:
			done, err := p.look(list)
			if done || err != nil {
				return err
			}
		case ctx.Err() == nil && !mayPass(err):
			return err
		}
		select {
		case <-looks:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("%w; the change stays made: proxyctl status shows how far it is", context.Canceled)
			}
			return p.late(timeout)
		}
	}
}

// mayPass says whether a look at the fleet failed for what waiting heals: a control
// plane that restarts, or whose etcd elects a leader. A refusal is not waited for.
func mayPass(err error) bool {
	return errors.Is(err, client.ErrNoServer) || isRefused(err, api.TypeUnavailable) || isRefused(err, api.TypeTimeout)
}

// waitProgress tells how far a change has come.
type waitProgress struct {
	app   *app
	want  api.Version
	began time.Time
	held  bool // nodes that hold the epoch are waited for
	last  api.NodeList
	told  map[string]string // what was last said about a node
}

// look reports what is new in the list, and whether the waiting is over.
func (p *waitProgress) look(list api.NodeList) (done bool, err error) {
	p.last = list
	var refused, held []api.NodeStatus
	total, running := 0, 0
	for _, n := range list.Items {
		if !counts(n) {
			continue
		}
		total++
		switch {
		case runs(n, p.want):
			running++
			p.tell(n.ID, fmt.Sprintf("runs revision %d", max(p.want.Revision, runningRevision(n))))
		case refuses(n, p.want):
			refused = append(refused, n)
			p.tell(n.ID, fmt.Sprintf("refuses revision %d", n.Wanted.Revision))
		case n.State == api.Held && compareVersions(n.Wanted, p.want) >= 0:
			held = append(held, n)
			p.tell(n.ID, fmt.Sprintf("holds epoch %d", n.Wanted.Epoch))
		case !n.Connected:
			p.tell(n.ID, "is not connected")
		}
	}
	if total > maxNodesListed {
		p.tell("", fmt.Sprintf("%d of %d nodes run revision %d", running, total, p.want.Revision))
	}
	switch {
	case len(refused) > 0:
		return true, p.refusal(refused)
	case len(held) > 0 && !p.held:
		return true, heldError(held[0].Wanted.Epoch, holding(held))
	case total == 0:
		p.app.note("no node is known yet: nothing to wait for")
		return true, nil
	case running == total:
		p.app.note("%s in sync after %s", allNodes(total), p.elapsed())
		return true, nil
	}
	return false, nil
}

// tell says something about a node once; of a large fleet only the sums.
func (p *waitProgress) tell(id, text string) {
	if id != "" && len(p.last.Items) > maxNodesListed {
		return
	}
	if p.told[id] == text {
		return
	}
	p.told[id] = text
	if id != "" {
		text = id + " " + text
	}
	p.app.note("%s (%s)", visible(text), p.elapsed())
}

func (p *waitProgress) elapsed() time.Duration {
	return p.app.now().Sub(p.began).Round(time.Millisecond)
}

// refusal says which nodes refuse, and why.
func (p *waitProgress) refusal(nodes []api.NodeStatus) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s refused revision %d and still serve what they had; the change stays made (proxyctl rollback takes it back)",
		counted(len(nodes), "node"), nodes[0].Wanted.Revision)
	for i, n := range nodes {
		if i == maxNodesListed {
			fmt.Fprintf(&b, "\n  … and %d more", len(nodes)-i)
			break
		}
		for _, problem := range n.Problems {
			fmt.Fprintf(&b, "\n  %s: %s", n.ID, problemLine(problem, false))
		}
		if len(n.Problems) == 0 {
			fmt.Fprintf(&b, "\n  %s: gave no reason", n.ID)
		}
	}
	return errors.New(b.String())
}

// late says which nodes were not ready in time.
func (p *waitProgress) late(timeout time.Duration) error {
	var missing []string
	total := 0
	for _, n := range p.last.Items {
		if !counts(n) {
			continue
		}
		total++
		if !runs(n, p.want) && len(missing) <= maxNodesListed {
			missing = append(missing, n.ID+" is "+string(n.State))
		}
	}
	if total == 0 {
		return fmt.Errorf("nothing was heard of the nodes in %s", timeout)
	}
	if len(missing) > maxNodesListed {
		missing[maxNodesListed] = "…"
	}
	return fmt.Errorf("not every node runs revision %d after %s: %s", p.want.Revision, timeout, strings.Join(missing, ", "))
}

func allNodes(n int) string {
	if n == 1 {
		return "the node is"
	}
	return fmt.Sprintf("all %d nodes are", n)
}

func runningRevision(n api.NodeStatus) uint64 {
	if n.Running == nil {
		return 0
	}
	return n.Running.Revision
}

// watchFleet gives a signal whenever the fleet may have changed: after every
// event, and from time to time. stop ends it and waits until it has ended.
func watchFleet(ctx context.Context, c *client.Client) (looks <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	look := wakeup.NewSignal()
	var both sync.WaitGroup
	both.Go(func() {
		for ctx.Err() == nil {
			// However the stream ends, the ticks go on; it is tried again.
			_ = c.Events(ctx, func(api.Event) error { look.Send(); return nil })
			wakeup.After(ctx, reconnectPause)
		}
	})
	both.Go(func() {
		for ctx.Err() == nil {
			wakeup.After(ctx, lookInterval)
			look.Send()
		}
	})
	return look, func() { cancel(); both.Wait() }
}
