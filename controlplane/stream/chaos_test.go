package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/proxyfleet/proxyfleet/dataplane/feed"
)

// cutter dials for a node, and cuts its connections when told to.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// TestFleetEndsAtTheLastVersionWhateverBreaks publishes while connections are
// cut, control planes restart, nodes restart, and Apply fails now and then.
func TestFleetEndsAtTheLastVersionWhateverBreaks(t *testing.T) {
	const seed, nodes, steps = 7, 4, 120
	rng := rand.New(rand.NewPCG(seed, 1))
	m := newMemory()
	planes := []*plane{newPlane(t, m, ""), newPlane(t, m, "")}
	addresses := []string{planes[0].address, planes[1].address}
	cutters := make([]*cutter, nodes)
	members := make([]*member, nodes)
	begin := func(i int) {
		cutters[i] = &cutter{}
		members[i] = newNodeWith(t, feed.Config{
			NodeID: fmt.Sprintf("n%d", i), ControlPlanes: addresses,
			DialOptions: []grpc.DialOption{grpc.WithContextDialer(cutters[i].dial)},
		})
	}
	for i := range nodes {
		begin(i)
	}
	base := config(t, 40, 80)
	var last uint64
	for range steps {
		i := rng.IntN(nodes)
		switch rng.IntN(10) {
		case 0, 1:
			cutters[i].cut()
		case 2:
			members[i].set(errors.New("port in use"))
		case 3:
			members[i].set(nil)
		case 4:
			if rng.IntN(4) == 0 {
				members[i].stop()
				begin(i)
			}
		case 5:
			if rng.IntN(4) == 0 {
				k := rng.IntN(len(planes))
				planes[k].stop()
				planes[k] = newPlane(t, m, addresses[k])
			}
		default:
			base = with(t, base, rng.IntN(40), 1000+rng.IntN(60_000))
			last = m.commit(base)
		}
		time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
	}
	for i, n := range members {
		n.set(nil)
		eventually(t, fmt.Sprintf("seed %d: node %d runs the last version", seed, i), n.runs(last))
		if got := n.live.Load().Root; got != base.Root() {
			t.Fatalf("seed %d: node %d: live table of %v", seed, i, got)
		}
		n.mu.Lock()
		if !slices.IsSorted(n.seen) {
			t.Fatalf("seed %d: node %d went back: %v", seed, i, n.seen)
		}
		n.mu.Unlock()
	}
}
