package gossip

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// maxKnown bounds the members whose address is remembered.
	maxKnown = 2048
	// knownFor is how long a member is looked for that is not there.
	knownFor = 7 * 24 * time.Hour
	// joinAtOnce bounds the addresses that one round tries: each may take
	// tcpTimeout, and one success is enough to find a whole other half.
	joinAtOnce = 4
	// firstRejoin is the pause while nobody at all was found; it doubles up to
	// Timing.Rejoin.
	firstRejoin = 500 * time.Millisecond
)

// place is where a member was last.
type place struct {
	address string
	seen    time.Time // when it was last said to be there
}

// remember keeps a member's address. mu is held.
func (g *Gossip) remember(id, address string) {
	if _, ok := g.known[id]; !ok && len(g.known) >= maxKnown {
		g.forgetOldest()
	}
	g.known[id] = place{address, time.Now()}
}

// forgetOldest makes room. mu is held.
func (g *Gossip) forgetOldest() {
	oldest := ""
	for id, p := range g.known {
		if _, there := g.view.Get(id); !there && (oldest == "" || p.seen.Before(g.known[oldest].seen)) {
			oldest = id
		}
	}
	delete(g.known, oldest)
}

// find looks for members that are not there, for as long as ctx lasts: at first
// those of Config.Join, later all that were ever there. It ends with ErrMoved where these could
// not answer.
func (g *Gossip) find(ctx context.Context, list *memberlist.Memberlist) error {
	delay := min(firstRejoin, g.c.Timing.Rejoin)
	for {
		if err := g.stay(); err != nil {
			return err
		}
		for _, address := range g.attempts(ctx) {
			if ctx.Err() != nil {
				return nil
			}
			if _, err := list.Join([]string{address}); err != nil && ctx.Err() == nil {
				g.cannotJoin(address, err)
			}
		}
		if g.View().Len() == 1 {
			delay = min(2*delay, g.c.Timing.Rejoin)
		} else {
			delay = g.c.Timing.Rejoin
		}
		// ± 25 %: halves that look for each other do not do it in step.
		if !wakeup.After(ctx, delay*3/4+rand.N(delay/2+1)) {
			return nil
		}
	}
}

// cannotJoin tells of a member that was not found: whoever starts a node wants to know.
func (g *Gossip) cannotJoin(address string, err error) {
	level := g.log.Debug
	if g.View().Len() == 1 {
		level = g.log.Warn
	}
	level("gossip: cannot join", "address", address, "error", err)
}

// attempts are the addresses that one round tries. Half of them are of the members
// that went last: the other half of a fleet in parts went together, and later than
// most of those that will never come back, which may be many.
func (g *Gossip) attempts(ctx context.Context) []string {
	missing := g.missing(ctx)
	others := missing[min(len(missing), joinAtOnce/2):]
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	return missing[:min(len(missing), joinAtOnce)]
}

// missing are the addresses of members that should be there and are not, those that
// went last first.
func (g *Gossip) missing(ctx context.Context) []string {
	var peers, addresses []string
	for _, found := range g.resolveAll(ctx) {
		peers = append(peers, found...)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var gone []place
	for id, p := range g.known {
		if _, there := g.view.Get(id); there {
			p.seen = time.Now()
			g.known[id] = p
			continue
		}
		if time.Since(p.seen) > knownFor {
			delete(g.known, id)
			continue
		}
		gone = append(gone, p)
	}
	slices.SortFunc(gone, func(a, b place) int { return b.seen.Compare(a.seen) })
	for _, p := range gone {
		addresses = append(addresses, p.address)
	}
	passed := map[string]bool{g.local.String(): true}
	for m := range g.view.All() {
		passed[m.Address.String()] = true
	}
	return slices.DeleteFunc(append(addresses, peers...), func(a string) bool {
		again := passed[a]
		passed[a] = true
		return again
	})
}

// resolveAll resolves Config.Join, in its order. All names at once: where none is
// resolved each takes its time, and members whose address is known must not wait for
// that.
func (g *Gossip) resolveAll(ctx context.Context) [][]string {
	found := make([][]string, len(g.c.Join))
	var wait sync.WaitGroup
	for i, peer := range g.c.Join {
		wait.Go(func() {
			var err error
			if found[i], err = g.resolve(ctx, peer); err != nil && ctx.Err() == nil {
				g.cannotJoin(peer, err)
			}
		})
	}
	wait.Wait()
	return found
}

// resolve turns host:port into ip:port, of which there may be several.
func (g *Gossip) resolve(ctx context.Context, peer string) ([]string, error) {
	host, port, err := net.SplitHostPort(peer)
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{net.JoinHostPort(ip.Unmap().String(), port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tcpTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, g.network("ip"), host)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, ip := range ips {
		all = append(all, net.JoinHostPort(ip.Unmap().String(), port))
	}
	return all, nil
}
