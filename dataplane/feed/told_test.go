package feed

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// TestWhatCameIntoForceIsToldAndNothingElse: a node boots from what it was told last.
func TestWhatCameIntoForceIsToldAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boot := site(t, 1, 3)
		var told []table.Configuration
		n := start(t, func(c *Config) {
			c.Boot = &table.Configuration{Version: table.Version{Epoch: 5, Revision: 10}, Tree: boot}
			c.Applied = func(now table.Configuration) { told = append(told, now) }
		})
		l, _ := n.accept()
		next := site(t, 1, 4)
		n.wantNack(l, l.send(nil, treeOf(t, dangling(t, "r")), 5, 11), fleetv1.Nack_PERMANENT, "missing")
		n.setRefuse(errors.New("port 8080: in use"))
		v := l.send(nil, next, 5, 12)
		n.wantNack(l, v, fleetv1.Nack_LOCAL, "in use")
		n.setRefuse(nil)
		n.wantAck(l, v)
		n.wantAck(l, l.send(nil, next, 5, 12)) // it runs already
		synctest.Wait()
		want := []table.Configuration{
			{Version: table.Version{Epoch: 5, Revision: 10}, Tree: boot},
			{Version: table.Version{Epoch: 5, Revision: 12}, Tree: next},
		}
		if !slices.EqualFunc(told, want, func(a, b table.Configuration) bool { return a.Version == b.Version && a.Tree.Root() == b.Tree.Root() }) {
			t.Errorf("it was told %v", told)
		}
	})
}

// TestWhatIsRetriedIsGivenUpForANewerVersionThatIsRefusedToo: the control plane wants it no
// more, and whoever sees it come into force later takes the node for one that goes back.
func TestWhatIsRetriedIsGivenUpForANewerVersionThatIsRefusedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		good := l.send(nil, site(t, 1, 3), 1, 1)
		n.wantAck(l, good)
		n.setRefuse(errors.New("port 8080: in use"))
		n.wantNack(l, l.send(nil, site(t, 1, 4), 1, 2), fleetv1.Nack_LOCAL, "in use")
		n.setRefuse(nil)
		n.wantNack(l, l.send(nil, treeOf(t, dangling(t, "r")), 1, 3), fleetv1.Nack_PERMANENT, "missing")
		if s := n.feed.State(); s.Retrying {
			t.Error("it says that it tries again")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if got := n.feed.State().Running; got != good {
			t.Errorf("running %v, want %v", got, good)
		}
	})
}

// TestWhatIsLiveIsSaidToRunBeforeApplyHasReturned: what is attested would differ from it,
// which is shown as drift.
func TestWhatIsLiveIsSaidToRunBeforeApplyHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n *node
		next := site(t, 1, 3)
		want := tree.Version{Epoch: 1, Revision: 2, Root: next.Root()}
		n = start(t, func(c *Config) {
			apply := c.Apply
			c.Apply = func(ctx context.Context, now *table.Table) error {
				before := n.feed.State()
				err := apply(ctx, now)
				if after := n.feed.State(); now.Version.Revision == want.Revision &&
					(before.Running.Revision != 1 || before.Attested != before.Running.Root || after.Running != want || after.Attested != want.Root) {
					t.Errorf("before %v, attested %v; after %v, attested %v", before.Running, before.Attested.Short(), after.Running, after.Attested.Short())
				}
				return err
			}
		})
		l, _ := n.accept()
		n.wantAck(l, l.send(nil, site(t, 1, 2), 1, 1))
		n.wantAck(l, l.send(nil, next, 1, 2))
	})
}
