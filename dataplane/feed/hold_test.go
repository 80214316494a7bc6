package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// site is a listener and the routes from first to last.
func site(t testing.TB, first, last int) tree.Tree {
	t.Helper()
	port := uint32(8080)
	protocol := fleetv1.Listener_HTTP
	all := [][]byte{canonical(t, &fleetv1.Resource{
		Kind: new(resource.Listener), Name: new("web"),
		Spec: &fleetv1.Resource_Listener{Listener: &fleetv1.Listener{Port: &port, Protocol: &protocol}},
	})}
	for i := first; i <= last; i++ {
		path, status := fmt.Sprintf("/%d", i), uint32(200)
		all = append(all, canonical(t, &fleetv1.Resource{
			Kind: new(resource.Route), Name: new(fmt.Sprintf("r%d", i)),
			Spec: &fleetv1.Resource_Route{Route: &fleetv1.Route{
				Match:   &fleetv1.Match{Path: &fleetv1.PathMatch{Exact: &path}},
				Respond: &fleetv1.Respond{Status: &status},
			}},
		}))
	}
	return treeOf(t, all...)
}

func (l *fakeLink) sendAccepted(next tree.Tree, epoch, revision uint64) tree.Version {
	v := tree.Version{Epoch: epoch, Revision: revision, Root: next.Root()}
	u := &fleetv1.Update{Target: v.Proto(), Last: true, EpochAccepted: true}
	for leaf := range next.All() {
		u.Upserts = append(u.Upserts, leaf.Bytes)
	}
	l.update(u)
	return v
}

func TestLossIsHeldAboveATenthOfTheRoutesAndWithAnyListenerOrVirtualIP(t *testing.T) {
	vip := tree.Key{Kind: resource.VirtualIP, Name: "v"}
	listener, second := tree.Key{Kind: resource.Listener, Name: "web"}, tree.Key{Kind: resource.Listener, Name: "tls"}
	all := site(t, 1, 50)
	for name, c := range map[string]struct {
		have, next tree.Tree
		want       loss
		held       bool
	}{
		"nothing runs":          {tree.Tree{}, all, loss{}, false},
		"the same":              {all, all, loss{}, false},
		"more":                  {all, site(t, 1, 90), loss{routes: 50, listeners: 1}, false},
		"exactly a tenth":       {all, site(t, 1, 45), loss{routes: 50, routesLost: 5, listeners: 1}, false},
		"one more":              {all, site(t, 1, 44), loss{routes: 50, routesLost: 6, listeners: 1}, true},
		"others in their place": {all, site(t, 46, 200), loss{routes: 50, routesLost: 45, listeners: 1}, true},
		"the only one":          {site(t, 1, 1), site(t, 2, 2), loss{routes: 1, routesLost: 1, listeners: 1}, true},
		"everything":            {all, tree.Tree{}, loss{routes: 50, routesLost: 50, listeners: 1, listenersLost: 1}, true},
		"no listener left":      {all, all.Delete(listener), loss{routes: 50, routesLost: 50, listeners: 1, listenersLost: 1}, true},
		"a listener of two":     {all.Set(second, []byte("l")), all, loss{routes: 50, listeners: 2, listenersLost: 1}, true},
		"a listener changed":    {all, all.Set(listener, []byte("l")), loss{routes: 50, listeners: 1}, false},
		"none had one":          {all.Delete(listener), site(t, 1, 49).Delete(listener), loss{routes: 50, routesLost: 1}, false},
		"a virtual IP":          {all.Set(vip, []byte("v")), all, loss{routes: 50, listeners: 1, virtualIPs: 1, virtualIPsLost: 1}, true},
		"a virtual IP changed":  {all.Set(vip, []byte("v")), all.Set(vip, []byte("w")), loss{routes: 50, listeners: 1, virtualIPs: 1}, false},
	} {
		if got := lossOf(c.have, c.next, func() {}); got != c.want || got.held() != c.held {
			t.Errorf("%s: %+v, held %v; want %+v, held %v", name, got, got.held(), c.want, c.held)
		}
	}
}

func TestNewEpochThatTakesTooMuchIsHeldUntilItIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		all := site(t, 1, 50)
		good := l.send(nil, all, 5, 10)
		n.wantAck(l, good)
		live := n.live.Load()

		empty := l.send(nil, tree.Tree{}, 6, 0)
		nack := n.answer(l).GetNack()
		if nack.GetKind() != fleetv1.Nack_HELD || versionOf(nack.GetVersion()) != empty || len(nack.GetProblems()) != 1 {
			t.Fatalf("got %v, want HELD", nack)
		}
		if got := nack.GetLoss(); got.GetRoutes() != 50 || got.GetRoutesLost() != 50 || got.GetVirtualIpsLost() != 0 {
			t.Fatalf("loss %v", got)
		}
		text := resource.ProblemFromProto(nack.GetProblems()[0]).Error()
		for _, part := range []string{"epoch 6", "50 of 50 routes", "epoch 5", "wiped", "proxyctl epoch accept", "apply the files again"} {
			if !strings.Contains(text, part) {
				t.Errorf("%q is missing in %q", part, text)
			}
		}
		if s := n.feed.State(); s.Running != good || s.Wanted != empty || len(s.Problems) != 1 || s.Retrying {
			t.Fatalf("state: %+v", s)
		}
		// What takes less may still be too much, as it is compared with what runs.
		n.wantNack(l, l.send(&tree.Tree{}, site(t, 1, 1), 6, 1), fleetv1.Nack_BASE_MISMATCH, "base differs")
		n.wantNack(l, l.send(nil, site(t, 1, 44), 6, 1), fleetv1.Nack_HELD, "6 of 50 routes")
		if n.live.Load() != live {
			t.Fatal("the live table changed")
		}
		n.wantAck(l, l.sendAccepted(site(t, 1, 1), 6, 2))
		if c := n.feed.Counters(); c.NacksHeld != 2 || c.NacksPermanent != 0 {
			t.Fatalf("counters: %+v", c)
		}
	})
}

func TestNewEpochThatHasWhatRunsIsTakenWithoutAcceptance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t)
		l, _ := n.accept()
		all := site(t, 1, 50)
		n.wantAck(l, l.send(nil, all, 5, 10))
		n.wantNack(l, l.send(nil, tree.Tree{}, 6, 0), fleetv1.Nack_HELD, "50 of 50")
		n.wantAck(l, l.send(&all, all, 6, 1))
		// Within the epoch people remove what they like.
		n.wantAck(l, l.send(nil, tree.Tree{}, 6, 2))
		n.wantAck(l, l.send(nil, all, 6, 3))
		n.wantAck(l, l.send(nil, site(t, 1, 45), 7, 1)) // exactly a tenth
	})
}

func TestRestartedNodeHoldsAsTheOneBefore(t *testing.T) {
	last := &table.Configuration{Version: table.Version{Epoch: 5, Revision: 10}, Tree: site(t, 1, 50)}
	good := tree.Version{Epoch: 5, Revision: 10, Root: last.Tree.Root()}
	t.Run("that serves", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := start(t, func(c *Config) { c.Boot = last })
			l, hello := n.accept()
			if versionOf(hello.GetRunning()) != good {
				t.Fatalf("hello: %v", hello)
			}
			n.wantNack(l, l.send(nil, tree.Tree{}, 6, 0), fleetv1.Nack_HELD, "50 of 50")
			if n.feed.State().Running != good {
				t.Fatalf("state: %+v", n.feed.State())
			}
		})
	})
	t.Run("that could not serve yet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var busy atomic.Bool
			busy.Store(true)
			n := start(t, func(c *Config) {
				c.Boot = last
				apply := c.Apply
				c.Apply = func(ctx context.Context, next *table.Table) error {
					if busy.Load() {
						return errors.New("port 8080: in use")
					}
					return apply(ctx, next)
				}
			})
			l, hello := n.accept()
			if hello.GetRunning() != nil {
				t.Fatalf("hello: %v", hello)
			}
			n.wantNack(l, l.send(nil, tree.Tree{}, 6, 0), fleetv1.Nack_HELD, "50 of 50")
			busy.Store(false)
			n.wantAck(l, good)
		})
	})
	t.Run("whose last configuration this build refuses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			bad := last.Tree.Set(tree.Key{Kind: resource.Route, Name: "r"}, dangling(t, "r"))
			n := start(t, func(c *Config) { c.Boot = &table.Configuration{Version: last.Version, Tree: bad} })
			l, _ := n.accept()
			n.wantAck(l, l.send(nil, tree.Tree{}, 6, 0)) // there is nothing to keep
		})
	})
}

// TestTheLastGoodConfigurationIsTriedUntilSomethingRuns: its port was in use at the
// start, and what the control plane says is nothing that the node can serve instead.
func TestTheLastGoodConfigurationIsTriedUntilSomethingRuns(t *testing.T) {
	last := &table.Configuration{Version: table.Version{Epoch: 5, Revision: 10}, Tree: site(t, 1, 50)}
	good := tree.Version{Epoch: 5, Revision: 10, Root: last.Tree.Root()}
	for name, say := range map[string]func(n *node, l *fakeLink){
		"nothing is wanted": func(*node, *fakeLink) {},
		"what is wanted is refused": func(n *node, l *fakeLink) {
			v := l.send(nil, treeOf(n.t, dangling(n.t, "r")), 5, 11)
			n.wantNack(l, v, fleetv1.Nack_PERMANENT, "missing")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := start(t, func(c *Config) { c.Boot = last }, func(c *Config) {
					apply, free := c.Apply, time.Now().Add(time.Second)
					c.Apply = func(ctx context.Context, next *table.Table) error {
						if time.Now().Before(free) {
							return errors.New("port 8080: in use")
						}
						return apply(ctx, next)
					}
				})
				l, hello := n.accept()
				if hello.GetRunning() != nil {
					t.Fatalf("hello: %v", hello)
				}
				say(n, l)
				time.Sleep(time.Minute)
				if got := n.feed.State().Running; got != good {
					t.Errorf("running %v, want %v", got, good)
				}
			})
		})
	}
}

// TestTheLastGoodConfigurationIsTriedWhileStreamsComeAndGo: a control plane that refuses the
// node ends each one at once, and the node is back within 5 s.
func TestTheLastGoodConfigurationIsTriedWhileStreamsComeAndGo(t *testing.T) {
	last := &table.Configuration{Version: table.Version{Epoch: 5, Revision: 10}, Tree: site(t, 1, 50)}
	good := tree.Version{Epoch: 5, Revision: 10, Root: last.Tree.Root()}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		n := start(t, func(c *Config) { c.Boot = last }, func(c *Config) {
			apply := c.Apply
			c.Apply = func(ctx context.Context, next *table.Table) error {
				if time.Since(begin) < 20*time.Second {
					return errors.New("port 8080: in use")
				}
				return apply(ctx, next)
			}
		})
		streams := 0
		for ; n.feed.State().Running != good; streams++ {
			if time.Since(begin) > 5*time.Minute {
				t.Fatalf("nothing runs, after %d streams", streams)
			}
			l := <-n.links
			<-l.toServer // its Hello
			l.Close()
		}
		if streams < 5 {
			t.Errorf("%d streams", streams)
		}
	})
}
