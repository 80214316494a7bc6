package gossip

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
)

// agent runs Grants over gossip as the vip-agent does, with no address to move:
// holding is an entry in held.
type agent struct {
	node   *node
	grants *vip.Grants
	inbox  chan vip.Message
	clock  func() int64
	held   *held
	gone   chan struct{} // it stops without a word
	done   chan struct{}
}

// held is who holds, and until when: who was kept from letting go holds no longer
// for that.
type held struct {
	clock func() int64

	mu    sync.Mutex
	until map[string]int64
	worst int
	since time.Time
}

func (h *held) claim(id string, until int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until[id] = until
	h.since = time.Now()
	now, n := h.clock(), 0
	for _, until := range h.until {
		if until > now {
			n++
		}
	}
	h.worst = max(h.worst, n)
}

// extend is for one that holds.
func (h *held) extend(id string, until int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, is := h.until[id]; is {
		h.until[id] = until
	}
}

func (h *held) drop(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.until, id)
}

// holder is the one that holds, if there is one, and since when.
func (h *held) holder() (id string, since time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.until {
		return id, h.since
	}
	return "", time.Time{}
}

func startAgent(f *fleet, c Config, clock func() int64, list vip.List, spec vip.Spec, h *held) *agent {
	f.t.Helper()
	a := &agent{inbox: make(chan vip.Message, 1024), clock: clock, held: h, gone: make(chan struct{}), done: make(chan struct{})}
	c.Receive = func(b []byte) {
		m, err := vip.Decode(b)
		if err != nil {
			return
		}
		select {
		case a.inbox <- m:
		default: // as good as lost
		}
	}
	a.node = f.start(c)
	grants, err := vip.New(vip.Config{Self: c.NodeID, Boot: a.node.Boot(), Now: clock(), List: list, Specs: []vip.Spec{spec}})
	if err != nil {
		f.t.Fatal(err)
	}
	a.grants = grants
	go a.run()
	return a
}

func (a *agent) run() {
	defer close(a.done)
	view := a.node.View()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var events []vip.Event
		select {
		case <-a.gone:
			return
		case view = <-a.node.Views():
		case m := <-a.inbox:
			events = append(events, vip.Received{Message: m})
		case <-timer.C:
		}
		now := a.clock() // after what happened
		for _, action := range a.grants.Step(now, view, events...) {
			a.do(action)
		}
		if until, holds := a.grants.Until("x"); holds {
			a.held.extend(a.node.id, until)
		}
		if at, ok := a.grants.NextDeadline(); ok {
			timer.Reset(time.Duration(at - a.clock()))
		}
	}
}

func (a *agent) do(action vip.Action) {
	self, _ := a.node.View().Get(a.node.id)
	say := Self{Flags: self.Flags, ListRevision: self.ListRevision}
	switch action := action.(type) {
	case vip.Send:
		b, err := action.Message.Append(nil)
		if err != nil {
			return
		}
		for _, to := range action.To {
			_ = a.node.Send(to, b) // as good as lost
		}
	case vip.Claim:
		if a.clock() < action.Until {
			a.held.claim(a.node.id, action.Until)
			say.Holdings = []member.Holding{{VIP: action.VIP, Term: action.Term, SinceUnixMS: time.Now().UnixMilli()}}
			a.node.SetSelf(say)
		}
	case vip.Drop:
		a.held.drop(a.node.id)
		a.node.SetSelf(say)
	}
}

// die ends the agent and its node without a word.
func (a *agent) die(f *fleet, others []*node) {
	f.cut(true, []*node{a.node}, others)
	close(a.gone)
	<-a.done
	a.held.drop(a.node.id)
	a.node.stop()
}

func TestGrantsOverGossipFollowAHolderThatIsGone(t *testing.T) {
	f := newFleet(t)
	begin := time.Now()
	clock := func() int64 { return int64(time.Since(begin)) + 1 }
	list := vip.NewList(1, "a", "b", "c")
	h := &held{clock: clock, until: map[string]int64{}}
	agents := map[string]*agent{}
	config := func(id string, peers ...*node) Config {
		c := f.config(id, peers...)
		c.Timing = Timing{} // what a fleet has
		c.Keys = mustKeys(t, key(1))
		return c
	}
	for _, id := range []string{"a", "b", "c"} {
		agents[id] = startAgent(f, config(id, f.all()...), clock, list, vip.Spec{VIP: "x"}, h)
	}
	t.Cleanup(func() {
		for _, a := range agents {
			close(a.gone)
			<-a.done
		}
	})
	var took []time.Duration
	for range 10 {
		// Whoever started last grants nothing before; and any phase of the beat.
		<-time.After(vip.GrantFor + rand.N(2*vip.Beat))
		var holder string
		f.eventually("somebody holds", func() bool { holder, _ = h.holder(); return holder != "" })
		var others []*node
		for id, a := range agents {
			if id != holder {
				others = append(others, a.node)
			}
		}
		dead := agents[holder]
		delete(agents, holder)
		crash := time.Now()
		dead.die(f, others)
		f.eventually("another holds", func() bool { id, _ := h.holder(); return id != "" && id != holder })
		_, since := h.holder()
		took = append(took, since.Sub(crash))

		f.cut(false, []*node{dead.node}, others)
		c := config(holder, others...)
		c.Address = dead.node.LocalAddress().String()
		agents[holder] = startAgent(f, c, clock, list, vip.Spec{VIP: "x"}, h)
		f.see("a b c", agents["a"].node, agents["b"].node, agents["c"].node)
	}
	slices.Sort(took)
	t.Logf("another holds after: median %v, worst %v of %d", took[len(took)/2], took[len(took)-1], len(took))
	if took[len(took)/2] > 500*time.Millisecond || h.worst > 1 {
		t.Errorf("median %v; at most %d held at a time", took[len(took)/2], h.worst)
	}
}
