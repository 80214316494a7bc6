package upstream

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestTheBudgetIsAShareOfTheRequestsUnderWayAndAlwaysThree(t *testing.T) {
	for _, c := range []struct {
		requests int
		share    uint32
		allowed  int
	}{
		{0, 20_00, 3}, {1, 20_00, 3}, {15, 20_00, 3}, {19, 20_00, 3}, {20, 20_00, 4}, {100, 20_00, 20}, {100, 0, 3}, {64, 12_50, 8}, {10, 100_00, 10},
	} {
		r := NewRegistry(1)
		u := up("u", "1", "2", "3")
		bind(t, r, tableOf(u))
		p := NewPicker(r, rand.NewPCG(1, 2))
		for i := range c.requests {
			r.Endpoint(u.Endpoints[i%3].Slot).Begin()
		}
		// Retries are in flight too, and are no part of what they are measured against.
		var held []interface{ EndRetry() }
		for {
			h, ok := p.TryRetry(u, c.share)
			if !ok {
				break
			}
			held = append(held, h)
			r.Endpoint(u.Endpoints[0].Slot).Begin()
		}
		if len(held) != c.allowed {
			t.Errorf("%d requests, %d: %d retries, want %d", c.requests, c.share, len(held), c.allowed)
		}
		for _, h := range held {
			h.EndRetry()
			r.Endpoint(u.Endpoints[0].Slot).End()
		}
		if n := r.Upstream(u.Slot).Retries(); n != 0 {
			t.Errorf("%d retries are left", n)
		}
	}
}

func TestTheBudgetIsOneForAllLoops(t *testing.T) {
	const loops, requests = 4, 100
	r := NewRegistry(loops)
	u := up("u", "1")
	bind(t, r, tableOf(u))
	for range requests {
		r.Endpoint(u.Endpoints[0].Slot).Begin()
	}
	var now, most atomic.Int64
	var wg sync.WaitGroup
	for i := range loops {
		wg.Go(func() {
			p := NewPicker(r, rand.NewPCG(uint64(i), 2))
			var held []interface{ EndRetry() }
			for range 20000 {
				if h, ok := p.TryRetry(u, 20_00); ok {
					held = append(held, h)
					for n := now.Add(1); n > most.Load(); {
						most.Store(n)
					}
					continue
				}
				for _, h := range held {
					now.Add(-1)
					h.EndRetry()
				}
				held = held[:0]
			}
			now.Add(-int64(len(held)))
			for _, h := range held {
				h.EndRetry()
			}
		})
	}
	wg.Wait()
	// Retries are not in flight here, so each lessens what they are measured against.
	if got := most.Load(); got > requests*20/100 {
		t.Errorf("%d retries at a time", got)
	}
	if n := r.Upstream(u.Slot).Retries(); n != 0 {
		t.Errorf("%d retries are left", n)
	}
}

func TestABudgetOutlivesItsUpstream(t *testing.T) {
	r := NewRegistry(1)
	u := up("u", "1")
	bind(t, r, tableOf(u))
	p := NewPicker(r, rand.NewPCG(1, 2))
	h, _ := p.TryRetry(u, 0)
	r.Released(bind(t, r, tableOf()))
	next := up("v", "1")
	bind(t, r, tableOf(next))
	h.EndRetry()
	if n := r.Upstream(next.Slot).Retries(); n != 0 {
		t.Errorf("another upstream has %d retries", n)
	}
}

// TestAStormOfFailuresMakesAFifthMoreAttempts: everything fails, and each retry
// takes at least as long as a first attempt did.
func TestAStormOfFailuresMakesAFifthMoreAttempts(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		r := NewRegistry(1)
		u := up("u", "1", "2")
		bind(t, r, tableOf(u))
		p := NewPicker(r, rnd)
		clients := 1 + rnd.IntN(200)
		took := 1 + rnd.IntN(20)
		requests, retries := storm(p, u, rnd, clients, took)
		if clients >= 20 && float64(retries) > 0.2*float64(requests)+3 {
			t.Errorf("seed %d: %d clients: %d retries of %d requests", seed, clients, retries, requests)
		}
	}
}

// storm runs clients that begin a request as soon as they have an answer, for
// some time. A first attempt takes so many ticks, a retry as many and a wait.
func storm(p *Picker, u *table.Upstream, rnd *rand.Rand, clients, took int) (requests, retries int) {
	type client struct {
		left int
		at   *Endpoint
		held interface{ EndRetry() }
	}
	all := make([]client, clients)
	for range 3000 {
		for i := range all {
			c := &all[i]
			if c.left--; c.left > 0 {
				continue
			}
			if c.at != nil && c.held == nil {
				if h, ok := p.TryRetry(u, 20_00); ok {
					c.held, c.left = h, took+rnd.IntN(took)
					retries++
					continue // in flight all the while: the least favourable case
				}
			}
			if c.at != nil {
				c.at.End()
			}
			if c.held != nil {
				c.held.EndRetry()
			}
			*c = client{left: took, at: p.registry.Endpoint(u.Endpoints[i%2].Slot)}
			c.at.Begin()
			requests++
		}
	}
	return requests, retries
}
