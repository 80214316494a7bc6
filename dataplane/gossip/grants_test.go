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

// held is who holds, in real time.
type held struct {
	mu    sync.Mutex
	by    []string
	worst int
	since time.Time
}

func (h *held) set(id string, holds bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by = slices.DeleteFunc(h.by, func(s string) bool { return s == id })
	if holds {
		h.by = append(h.by, id)
		h.since = time.Now()
	}
	h.worst = max(h.worst, len(h.by))
}

func (h *held) holder() (string, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.by) == 0 {
		return "", time.Time{}
	}
	return h.by[0], h.since
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
			a.held.set(a.node.id, true)
			say.Holdings = []member.Holding{{VIP: action.VIP, Term: action.Term, SinceUnixMS: time.Now().UnixMilli()}}
			a.node.SetSelf(say)
		}
	case vip.Drop:
		a.held.set(a.node.id, false)
		a.node.SetSelf(say)
	}
}

// die ends the agent and its node without a word.
func (a *agent) die(f *fleet, others []*node) {
	f.cut(true, []*node{a.node}, others)
	close(a.gone)
	<-a.done
	a.held.set(a.node.id, false)
	a.node.stop()
}

func TestGrantsOverGossipFollowAHolderThatIsGone(t *testing.T) {
	f := newFleet(t)
	begin := time.Now()
	clock := func() int64 { return int64(time.Since(begin)) + 1 }
	list := vip.NewList(1, "a", "b", "c")
	h := &held{}
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
	f.eventually("somebody holds", func() bool { id, _ := h.holder(); return id != "" })

	var took []time.Duration
	for range 10 {
		// Whoever started last grants nothing before; and any phase of the beat.
		<-time.After(vip.GrantFor + rand.N(2*vip.Beat))
		holder, _ := h.holder()
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
