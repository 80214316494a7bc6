package upstream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func tableOf(ups ...*table.Upstream) *table.Table { return &table.Table{Upstreams: ups} }

func up(name string, addresses ...string) *table.Upstream {
	u := &table.Upstream{Name: name}
	weights := make([]uint32, len(addresses))
	for i, a := range addresses {
		weights[i] = 1
		u.Endpoints = append(u.Endpoints, table.Endpoint{Address: a, Weight: 1})
	}
	u.RoundRobin = balance.NewRoundRobin(weights)
	u.LeastRequest = balance.NewLeastRequest(weights)
	return u
}

func bind(t *testing.T, r *Registry, tb *table.Table) Retired {
	t.Helper()
	retired, err := r.Bind(tb)
	if err != nil {
		t.Fatal(err)
	}
	return retired
}

func TestAnEndpointKeepsItsSlotWhileItLives(t *testing.T) {
	r := NewRegistry(2)
	a := up("a", "1", "2")
	bind(t, r, tableOf(a))
	slots := [2]uint32{a.Endpoints[0].Slot, a.Endpoints[1].Slot}
	if slots[0] == slots[1] {
		t.Fatal("two endpoints share a slot")
	}
	// Another object for the same identities, and a neighbour.
	b := up("a", "2", "1")
	if retired := bind(t, r, tableOf(b, up("b", "1"))); !retired.Empty() {
		t.Errorf("retired %+v", retired)
	}
	if b.Endpoints[0].Slot != slots[1] || b.Endpoints[1].Slot != slots[0] {
		t.Error("the slots moved")
	}
}

func TestASlotIsUsedAgainOnlyAfterEveryLoopReleasedIt(t *testing.T) {
	r := NewRegistry(2)
	bind(t, r, tableOf(up("a", "1")))
	retired := bind(t, r, tableOf())
	if len(retired.Endpoints) != 1 || len(retired.Upstreams) != 1 {
		t.Fatalf("retired %+v", retired)
	}
	next := up("b", "1")
	bind(t, r, tableOf(next))
	if next.Endpoints[0].Slot == retired.Endpoints[0] {
		t.Fatal("given again before the loops let go")
	}
	r.Released(retired)
	r.Released(retired)
	third := up("c", "1")
	bind(t, r, tableOf(next, third))
	if third.Endpoints[0].Slot != retired.Endpoints[0] {
		t.Error("not used again")
	}
}

// TestSlotsOfLivingIdentitiesNeverCollide drives the registry with random
// tables, the loops' releases arriving late.
func TestSlotsOfLivingIdentitiesNeverCollide(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const loops = 3
	r := NewRegistry(loops)
	var pending []Retired
	most := 0
	for step := range 3000 {
		var ups []*table.Upstream
		for i := range 10 {
			if rnd.IntN(2) == 0 {
				ups = append(ups, up(fmt.Sprint(i), "x", fmt.Sprint(rnd.IntN(3))))
			}
		}
		retired := bind(t, r, tableOf(ups...))
		seen := map[uint32]string{}
		for _, u := range ups {
			for _, e := range u.Endpoints {
				key := u.Name + "/" + e.Address
				if other, ok := seen[e.Slot]; ok && other != key {
					t.Fatalf("step %d: %s and %s share slot %d", step, key, other, e.Slot)
				}
				seen[e.Slot] = key
			}
		}
		for _, p := range pending { // unreleased slots must not be in use
			for _, slot := range p.Endpoints {
				if key, ok := seen[slot]; ok {
					t.Fatalf("step %d: slot %d was given to %s before it was released", step, slot, key)
				}
			}
		}
		if !retired.Empty() {
			pending = append(pending, retired)
		}
		for len(pending) > 0 && rnd.IntN(3) > 0 {
			for range loops {
				r.Released(pending[0])
			}
			pending = pending[1:]
		}
		most = max(most, r.Slots())
	}
	if most > 400 {
		t.Errorf("%d slots for at most 20 endpoints at a time", most)
	}
}

func TestAPoolNeverOpensMoreThanTheNodeMay(t *testing.T) {
	var e Endpoint
	a, b := NewPool(&e), NewPool(&e)
	if !a.TryOpen(2) || !b.TryOpen(2) || a.TryOpen(2) {
		t.Fatal("the limit is the node's")
	}
	b.Closed()
	if !a.TryOpen(2) || e.Connections() != 2 || a.Open() != 2 {
		t.Error("a closed connection makes room")
	}
}

func TestAPoolGivesTheWarmestConnectionAndKeepsItsBound(t *testing.T) {
	p := NewPool(new(Endpoint))
	if !p.Put(1, 2) || !p.Put(2, 2) || p.Put(3, 2) {
		t.Fatal("the bound on idle connections")
	}
	if id, ok := p.TakeIdle(); !ok || id != 2 {
		t.Errorf("got %d", id)
	}
	if !p.RemoveIdle(1) || p.RemoveIdle(1) {
		t.Error("remove")
	}
	if _, ok := p.TakeIdle(); ok {
		t.Error("an empty pool gave something")
	}
}

func TestStreamsWaitInOrderAndBounded(t *testing.T) {
	var e Endpoint
	p := NewPool(&e)
	for i := range maxWaiting {
		if !p.Wait(ID(i)) {
			t.Fatal(i)
		}
	}
	if p.Wait(9999) {
		t.Error("the queue has no bound")
	}
	if !p.Leave(1) || p.Leave(1) {
		t.Error("leave")
	}
	if id, _ := p.NextWaiting(); id != 0 {
		t.Errorf("first %d", id)
	}
	if id, _ := p.NextWaiting(); id != 2 {
		t.Errorf("second %d", id)
	}
	if e.Waiting() != maxWaiting-3 {
		t.Errorf("%d wait", e.Waiting())
	}
}

func TestAPickAvoidsWhatFailedIfThereIsAnother(t *testing.T) {
	r := NewRegistry(1)
	for _, algorithm := range []table.Algorithm{table.AlgorithmRoundRobin, table.AlgorithmLeastRequest} {
		u := up(fmt.Sprint("u", algorithm), "1", "2", "3")
		u.Algorithm = algorithm
		one := up(fmt.Sprint("one", algorithm), "1")
		one.Algorithm = algorithm
		bind(t, r, tableOf(u, one))
		p := NewPicker(r, rand.NewPCG(1, 2))
		for range 1000 {
			if i, ok := p.Pick(u, 1); !ok || i == 1 {
				t.Fatalf("picked %d", i)
			}
			if i, ok := p.Pick(one, 0); !ok || i != 0 {
				t.Fatal("the only endpoint was refused")
			}
		}
	}
}

func TestLeastRequestSeesTheWholeNode(t *testing.T) {
	r := NewRegistry(2)
	u := up("u", "1", "2")
	u.Algorithm = table.AlgorithmLeastRequest
	bind(t, r, tableOf(u))
	r.Endpoint(u.Endpoints[0].Slot).Begin() // by another loop
	p := NewPicker(r, rand.NewPCG(1, 2))
	for range 100 {
		if i, _ := p.Pick(u, -1); i != 1 {
			t.Fatal("picked the busier one")
		}
	}
}

// TestEachPoolKnowsHowManyOthersAreShort whatever comes and goes in which.
func TestEachPoolKnowsHowManyOthersAreShort(t *testing.T) {
	const most, steps = 8, 2000
	random := rand.New(rand.NewPCG(1, 2))
	e := new(Endpoint)
	pools := []*Pool{NewPool(e), NewPool(e), NewPool(e)}
	for step := range steps {
		p := pools[random.IntN(len(pools))]
		switch random.IntN(7) {
		case 0:
			p.SetPart(1 + random.IntN(3))
		case 1:
			p.Wait(ID(step))
		case 6:
			p.WaitFirst(ID(step))
		case 2:
			p.NextWaiting()
		case 3:
			p.Leave(ID(step - 1 - random.IntN(8)))
		case 4:
			p.TryOpen(most)
		case 5:
			if p.Open() > 0 {
				p.Closed()
			}
		}
		short := func(p *Pool) bool { return p.Queued() > 0 && p.Open() < p.Part() }
		for i, p := range pools {
			others := 0
			for k, other := range pools {
				if k != i && short(other) {
					others++
				}
			}
			if p.Short() != short(p) || p.OthersShort() != others {
				t.Fatalf("step %d, pool %d: short %t, %d others; want %t, %d", step, i, p.Short(), p.OthersShort(), short(p), others)
			}
		}
	}
}

func TestEachUpstreamHasABudgetOfItsOwn(t *testing.T) {
	r := NewRegistry(1)
	a, b := up("a", "1"), up("b", "1")
	bind(t, r, tableOf(a, b))
	p := NewPicker(r, rand.NewPCG(1, 2))
	for i := range minRetries + 1 {
		if _, ok := p.TryRetry(a, 0); ok != (i < minRetries) {
			t.Fatalf("retry %d of the first: %t", i, ok)
		}
	}
	if _, ok := p.TryRetry(b, 0); !ok {
		t.Error("the budget of one upstream is used up by another")
	}
	// It is the upstream's, by its name, whatever table it is in.
	next := up("a", "2")
	bind(t, r, tableOf(up("c", "1"), next))
	if _, ok := p.TryRetry(next, 0); ok {
		t.Error("another table gives another budget")
	}
}

// TestTheOnlyOtherEndpointIsFoundHoweverSeldomItsTurnIs.
func TestTheOnlyOtherEndpointIsFoundHoweverSeldomItsTurnIs(t *testing.T) {
	r := NewRegistry(1)
	u := up("u", "1", "2", "3")
	u.Endpoints[0].Weight, u.Endpoints[1].Weight = 4000, 0
	u.RoundRobin = balance.NewRoundRobin([]uint32{4000, 0, 1})
	bind(t, r, tableOf(u))
	p := NewPicker(r, rand.NewPCG(1, 2))
	for range 100 {
		if i, ok := p.Pick(u, 0); !ok || i != 2 {
			t.Fatalf("picked %d, %t", i, ok)
		}
	}
}

func TestATableOfMoreThanANodeTakesIsRefusedWhole(t *testing.T) {
	for _, c := range []struct {
		upstreams int
		addresses []string
		ok        bool
	}{
		{MaxEndpoints / 2, []string{"1"}, true},
		{MaxEndpoints/2 + 1, nil, false},
		{MaxEndpoints/4 + 1, []string{"1", "2"}, false},
	} {
		r := NewRegistry(1)
		// One object many times: what is counted is what is there.
		ups := slices.Repeat([]*table.Upstream{up("u", c.addresses...)}, c.upstreams)
		if _, err := r.Bind(tableOf(ups...)); (err == nil) != c.ok {
			t.Errorf("%d upstreams of %d endpoints: %v", c.upstreams, len(c.addresses), err)
		}
	}
}

func TestWhoWaitedLongestIsShownBeforeItIsTaken(t *testing.T) {
	p := NewPool(new(Endpoint))
	if _, ok := p.FirstWaiting(); ok {
		t.Error("somebody waits")
	}
	p.Wait(4)
	p.Wait(5)
	for range 2 {
		if id, ok := p.FirstWaiting(); !ok || id != 4 {
			t.Errorf("%d, %t", id, ok)
		}
	}
	if id, _ := p.NextWaiting(); id != 4 || p.Queued() != 1 {
		t.Errorf("%d, and %d wait", id, p.Queued())
	}
}

func TestWhoseTurnHadComeIsTheNextAgain(t *testing.T) {
	p := NewPool(new(Endpoint))
	for _, id := range []ID{4, 5, 6} {
		p.Wait(id)
	}
	id, _ := p.NextWaiting()
	if !p.WaitFirst(id) || p.Queued() != 3 || p.Endpoint().Waiting() != 3 {
		t.Errorf("%d wait, %d at the endpoint", p.Queued(), p.Endpoint().Waiting())
	}
	for _, want := range []ID{4, 5, 6} {
		if id, _ := p.NextWaiting(); id != want {
			t.Errorf("%d, want %d", id, want)
		}
	}
	for range maxWaiting {
		p.Wait(7)
	}
	if p.WaitFirst(8) {
		t.Error("more wait than may")
	}
}
