package vip

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// This file holds a model of machines, clocks, a network and a gossip, in which
// Grants are run. All of it follows from a seed.

const ms = int64(1e6)

// kernelLease is after how long the model's kernel takes an address off that
// nobody renews.
const kernelLease = 2000 * ms

// conditions are what a world may do to its nodes.
type conditions struct {
	drift        float64 // clock rates are 1 ± drift
	delay        [2]int64
	slow         float64 // part of the messages that take up to slowest
	slowest      int64
	loss, repeat float64
	late         [2]int64 // between a deadline, or a message, and Step
	actionTime   int64    // the actions of a Step take up to that together
	viewLag      [2]int64
	downLag      [2]int64 // until gossip has lost a node
	wildViews    bool     // gossip says anything
}

var calm = conditions{delay: [2]int64{1 * ms, 1 * ms}, viewLag: [2]int64{100 * ms, 100 * ms}, downLag: [2]int64{1500 * ms, 1500 * ms}}

// lan is an ordinary network.
var lan = conditions{
	drift: 0.0001, delay: [2]int64{ms / 20, ms}, loss: 0.0005, late: [2]int64{0, ms}, actionTime: ms,
	viewLag: [2]int64{20 * ms, 300 * ms}, downLag: [2]int64{800 * ms, 4000 * ms},
}

// harsh is within what the doc of the package promises, at its borders.
var harsh = conditions{
	drift: 0.01, delay: [2]int64{ms / 20, 10 * ms}, slow: 0.05, slowest: 2000 * ms, loss: 0.1, repeat: 0.1,
	// A Step just before the deadline, a late one after it: 44 ms.
	late: [2]int64{0, 16 * ms}, actionTime: 14 * ms, viewLag: [2]int64{20 * ms, 1000 * ms}, downLag: [2]int64{200 * ms, 4000 * ms},
}

type machine struct {
	id   string
	rate float64
	base int64 // the clock's reading at real time 0

	up     bool
	life   int
	g      *Grants
	flags  member.Flags
	labels []member.Label
	boot   uint64
	view   member.View
	holds  []member.Holding // as it says

	wake  int64 // when the next evWake is due, in real time
	busy  int64 // executing actions until then
	inbox []Event
	// stopped: the process does not run, the machine does. frozen: nothing does,
	// not even the clock.
	stopped, frozen bool
	stoppedAt       int64
	thawed          int64 // its clock does not know of the time before
	address         map[string]*addressState
	// promised are the grants of processes before, which they forgot.
	promised []grantOf
}

type grantOf struct {
	vip   string
	grant grant
}

type addressState struct {
	since  int64
	excuse int64 // two holders are excused until then: the agent did not run
}

type world struct {
	c      conditions
	t      timing
	rnd    *rand.Rand
	now    int64
	queue  []simEvent
	count  uint64
	nodes  []*machine
	links  [][]bool // links[from][to]
	list   List
	specs  []Spec
	boots  uint64
	trace  *strings.Builder
	msgs   bool
	faults []string // violations
	sent   int      // datagrams
	claims []claimed
	strict bool        // two holders are a violation
	poke   func(i int) // changes a node before it steps, to break it
}

type claimed struct {
	vip, node string
	at        int64
	up        bool // or down
	reason    Op
}

func newWorld(seed uint64, c conditions, t timing, n int, specs ...Spec) *world {
	w := &world{c: c, t: t, rnd: rand.New(rand.NewPCG(seed, 0x766970)), specs: specs, strict: true}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = string(rune('a' + i))
	}
	w.list = NewList(1, ids...)
	for i, id := range ids {
		m := &machine{
			id: id, rate: 1 + c.drift*(2*w.rnd.Float64()-1), base: w.rnd.Int64N(1e15),
			flags: member.Eligible | member.Healthy, address: map[string]*addressState{},
		}
		if c.drift >= 0.01 && w.rnd.IntN(2) == 0 { // the borders matter most
			m.rate = 1 + c.drift*float64(2*(i%2)-1)
		}
		w.nodes = append(w.nodes, m)
		w.links = append(w.links, make([]bool, n))
	}
	w.connect(func(int, int) bool { return true })
	return w
}

// connect sets who hears whom.
func (w *world) connect(f func(from, to int) bool) {
	for i := range w.links {
		for j := range w.links {
			w.links[i][j] = i == j || f(i, j)
		}
	}
	for i := range w.nodes {
		for j := range w.nodes {
			if i != j {
				w.gossip(i, j, w.between(w.c.downLag))
			}
		}
	}
}

func (w *world) between(r [2]int64) int64 {
	if r[1] <= r[0] {
		return r[0]
	}
	return r[0] + w.rnd.Int64N(r[1]-r[0])
}

func (w *world) chance(p float64) bool { return p > 0 && w.rnd.Float64() < p }

func (w *world) clock(m *machine) int64 { return m.base + int64(float64(w.now)*m.rate) }

// real is when a node's clock reads that.
func (w *world) real(m *machine, local int64) int64 { return int64(float64(local-m.base)/m.rate) + 1 }

// after runs f in d from now.
func (w *world) after(d int64, f func()) { w.push(simEvent{at: w.now + d, kind: evDo, do: f}) }

func (w *world) run(d int64) {
	end := w.now + d
	for len(w.queue) > 0 && w.queue[0].at <= end {
		e := w.pop()
		w.now = max(w.now, e.at)
		switch e.kind {
		case evDo:
			e.do()
		case evView:
			w.see(e.node, e.from)
		case evMessage:
			w.arrive(e)
		case evWake:
			m := w.nodes[e.node]
			if m.up && m.life == e.life && m.wake == e.at && !m.stopped && !m.frozen {
				w.step(e.node)
			}
		}
	}
	w.now = end
}

func (w *world) runUntil(limit int64, done func() bool) (int64, bool) {
	begin := w.now
	for w.now-begin < limit {
		if done() {
			return w.now - begin, true
		}
		w.run(ms)
	}
	return limit, done()
}

// boot starts a node's process.
func (w *world) boot(i int) {
	m := w.nodes[i]
	if m.up {
		return
	}
	w.boots++
	w.clearAddresses(m, 0) // what a process before left behind
	m.up, m.life, m.boot = true, m.life+1, w.boots
	m.view, m.holds, m.inbox, m.busy = member.View{}, nil, nil, w.now
	m.g = newGrants(Config{Self: m.id, Boot: m.boot, Now: w.clock(m), List: w.list, Specs: w.specs}, w.t)
	w.log("%s starts", m.id)
	w.announce(i)
	for j := range w.nodes {
		if j != i {
			w.gossip(i, j, w.between(w.c.viewLag))
		}
	}
	w.step(i)
}

func (w *world) bootAll() {
	for i := range w.nodes {
		w.boot(i)
	}
}

// setFlags changes what a node says of itself.
func (w *world) setFlags(i int, f member.Flags) {
	m := w.nodes[i]
	m.flags = f
	if m.up {
		w.announce(i)
		if !m.stopped && !m.frozen {
			w.step(i)
		}
	}
}

// self is what a node says of itself.
func (m *machine) self() member.Member {
	return member.Member{ID: m.id, Boot: m.boot, Flags: m.flags, Labels: m.labels, Holdings: m.holds}
}

func (w *world) announce(i int) {
	m := w.nodes[i]
	m.view = m.view.With(m.self())
	for j := range w.nodes {
		if j != i {
			w.gossip(j, i, w.between(w.c.viewLag))
		}
	}
}

// gossip lets node i look at what there is of node j after a while.
func (w *world) gossip(i, j int, lag int64) {
	w.push(simEvent{at: w.now + lag, kind: evView, node: i, from: j})
}

func (w *world) see(i, j int) {
	m, other := w.nodes[i], w.nodes[j]
	if !m.up {
		return
	}
	there := other.up && w.linked(j, i) && w.linked(i, j)
	if w.c.wildViews {
		there = w.rnd.IntN(4) > 0
	}
	before := m.view
	switch {
	case there && other.boot != 0:
		m.view = m.view.With(other.self())
	default:
		m.view = m.view.Without(other.id)
	}
	if !m.stopped && !m.frozen && !m.view.Equal(before) {
		w.step(i)
	}
}

// linked says whether there is a way from i to j: gossip goes round about.
func (w *world) linked(i, j int) bool {
	seen := make([]bool, len(w.nodes))
	todo := []int{i}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		if at == j {
			return true
		}
		if seen[at] {
			continue
		}
		seen[at] = true
		for to := range w.nodes {
			if w.links[at][to] && !seen[to] && w.nodes[to].up {
				todo = append(todo, to)
			}
		}
	}
	return false
}

func (w *world) arrive(e simEvent) {
	m := w.nodes[e.node]
	if !m.up || m.frozen { // links count when a message is sent: what is on its way arrives
		return
	}
	msg, err := Decode(e.data)
	if err != nil {
		w.fault("%s cannot decode a message of %s: %v", m.id, w.nodes[e.from].id, err)
		return
	}
	if w.msgs {
		w.log("  %s", messageText(m.id, &msg))
	}
	if len(m.inbox) < 1000 {
		m.inbox = append(m.inbox, Received{msg})
	}
	if m.stopped {
		return
	}
	if late := w.between(w.c.late); late > 0 && w.chance(0.05) {
		w.wakeAt(e.node, w.now+late)
		return
	}
	w.step(e.node)
}

func (w *world) wakeAt(i int, at int64) {
	m := w.nodes[i]
	m.wake = max(at, m.busy)
	w.push(simEvent{at: m.wake, kind: evWake, node: i, life: m.life})
}

// step runs a node's machine and does what it says.
func (w *world) step(i int) {
	m := w.nodes[i]
	if w.now < m.busy {
		w.wakeAt(i, m.busy)
		return
	}
	events := m.inbox
	m.inbox = nil
	if w.poke != nil {
		w.poke(i)
	}
	at, left := w.now, w.c.actionTime
	for _, a := range m.g.Step(w.clock(m), m.view, events...) {
		switch a := a.(type) {
		case Send:
			data, err := a.Message.Append(nil)
			if err != nil {
				w.fault("%s cannot encode a message: %v", m.id, err)
				continue
			}
			w.sendAll(i, a.To, at, data)
		case Claim:
			at += w.spend(&left)
			w.bringUp(i, a.VIP, a.Until, at)
		case Drop:
			at += w.spend(&left)
			w.drop(i, a, at)
		case Conflict:
			w.log("%s: %s holds %s too", m.id, a.Other, a.VIP)
		}
	}
	for _, s := range w.specs { // what came too late, or was taken off
		if until, ok := m.g.Until(s.VIP); ok && m.address[s.VIP] == nil && at == w.now {
			at += w.spend(&left)
			w.bringUp(i, s.VIP, until, at)
		}
	}
	m.busy = at
	if at != w.now {
		w.wakeAt(i, at)
		return
	}
	if deadline, ok := m.g.NextDeadline(); ok {
		if deadline <= m.g.now {
			w.fault("%s has its next deadline now: it would spin: %+v", m.id, m.g.Status())
		}
		late := int64(0)
		if w.chance(0.2) {
			late = w.between(w.c.late)
		}
		w.wakeAt(i, max(w.real(m, deadline), w.now+1)+late)
	} else {
		m.wake = never
	}
}

// spend draws from the time that the actions of a Step may take.
func (w *world) spend(left *int64) int64 {
	if *left <= 0 {
		return 0
	}
	d := w.rnd.Int64N(*left)
	*left -= d
	return d
}

// bringUp has the address up at a time, if the clock is not past the end then.
func (w *world) bringUp(i int, vip string, until, at int64) {
	m := w.nodes[i]
	life := m.life
	up := func() {
		if !m.up || m.life != life || m.stopped || m.frozen || w.clock(m) > until || m.address[vip] != nil {
			return
		}
		term := m.g.find(vip).term
		m.holds = append(slices.Clone(m.holds), member.Holding{VIP: vip, Term: term})
		w.log("%s holds %s, term %d", m.id, vip, term)
		w.claims = append(w.claims, claimed{vip, m.id, w.now, true, 0})
		state := &addressState{since: w.now}
		if m.thawed > 0 {
			// What was granted before its clock stood still looks fresh.
			state.excuse = m.thawed + int64(GrantFor)
		}
		m.address[vip] = state
		w.check(vip)
		w.announce(i)
	}
	if at == w.now {
		up()
		return
	}
	w.push(simEvent{at: at, kind: evDo, do: up})
}

func (w *world) drop(i int, a Drop, at int64) {
	m := w.nodes[i]
	life := m.life
	off := func() {
		if m.life != life || !m.up {
			return
		}
		if a.Reason == Lost {
			w.covered(m, a.VIP) // until this very moment
		}
		w.takeOff(m, a.VIP, a.Reason)
		w.announce(i)
	}
	if at == w.now {
		off()
		return
	}
	w.push(simEvent{at: at, kind: evDo, do: off})
}

func (w *world) takeOff(m *machine, vip string, why Op) {
	if _, ok := m.address[vip]; !ok {
		return
	}
	delete(m.address, vip)
	m.holds = slices.DeleteFunc(slices.Clone(m.holds), func(h member.Holding) bool { return h.VIP == vip })
	reason := ""
	if why != 0 {
		reason = " (" + why.String() + ")"
	}
	w.log("%s lets go of %s%s", m.id, vip, reason)
	w.claims = append(w.claims, claimed{vip, m.id, w.now, false, why})
}

// sendAll sends when the actions before are done, if the process is there then.
func (w *world) sendAll(from int, ids []string, at int64, data []byte) {
	m := w.nodes[from]
	life := m.life
	do := func() {
		if m.up && m.life == life && !m.stopped && !m.frozen {
			for _, id := range ids {
				to, _ := w.list.Index(id)
				w.send(from, to, data)
			}
		}
	}
	if at == w.now {
		do()
		return
	}
	w.push(simEvent{at: at, kind: evDo, do: do})
}

func (w *world) send(from, to int, data []byte) {
	w.sent++
	if !w.links[from][to] || w.chance(w.c.loss) {
		return
	}
	times := 1
	if w.chance(w.c.repeat) {
		times = 2
	}
	for range times {
		delay := w.between(w.c.delay)
		if w.chance(w.c.slow) {
			delay = w.rnd.Int64N(w.c.slowest)
		}
		w.push(simEvent{at: w.now + delay, kind: evMessage, node: to, from: from, data: data})
	}
}

func (w *world) holders(vip string) []string {
	var ids []string
	for _, m := range w.nodes {
		if m.address[vip] != nil && !m.frozen {
			ids = append(ids, m.id)
		}
	}
	return ids
}

func (w *world) holder(vip string) int {
	for i, m := range w.nodes {
		if m.address[vip] != nil && m.up && !m.stopped && !m.frozen {
			return i
		}
	}
	return -1
}

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf("%.3f ms: ", float64(w.now)/1e6)+fmt.Sprintf(format, args...))
	w.log("FAULT "+format, args...)
}

func (w *world) log(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%7.1f ", float64(w.now)/1e6)
		fmt.Fprintf(w.trace, format, args...)
		w.trace.WriteByte('\n')
	}
}

// messageText is how a message reads in a trace.
func messageText(to string, m *Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s→%s", m.From, to)
	for _, it := range m.Items {
		if m.Kind == Request {
			fmt.Fprintf(&b, " %s %s/%d", it.Op, it.VIP, it.Term)
			continue
		}
		fmt.Fprintf(&b, " %s %s/%d", it.Verdict, it.VIP, it.Term)
		if it.Other != "" {
			fmt.Fprintf(&b, " by %s", it.Other)
		}
		if it.LeftMS > 0 {
			fmt.Fprintf(&b, " for %d ms", it.LeftMS)
		}
	}
	return b.String()
}
