package vip

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// These files hold a model of machines, clocks, a network and a gossip, in which
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
	again        float64  // part of the messages behind which an old one comes again, whoever sent that
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
	old    [][]sent // those to each node, where they may come again
	claims []claimed
	strict bool        // two holders are a violation
	poke   func(i int) // changes a node before it steps, to break it
}

// sent is a datagram.
type sent struct {
	from int
	data []byte
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
