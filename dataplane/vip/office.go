package vip

import (
	"math"
	"slices"
)

// State is a node's own part in one virtual IP.
type State uint8

const (
	// Idle is a node that is no candidate.
	Idle State = iota
	// Waiting is a candidate whose turn it is not.
	Waiting
	// Asking is one that asks for grants.
	Asking
	// Holding is the node that holds.
	Holding
)

// String returns the state in lower case.
func (s State) String() string {
	if s > Holding {
		return "unknown"
	}
	return [...]string{"idle", "waiting", "asking", "holding"}[s]
}

// office is what a node knows of one virtual IP: what it granted as a member,
// whom it knows to hold, and its own part. Members are places in the list.
type office struct {
	vip     string
	elector *elector // nil: the virtual IP is not configured here
	touched int64    // when a request last named it

	// Set by schedule at the end of each of its turns.
	turn     int64 // when the next one is, if nothing is received before; never: at once
	deadline int64 // for which the caller of Step is to wake

	// As a member: requested writes these, and decide and answers read them.
	granted  grant
	lastTerm uint64 // the highest ever granted, and to whom
	lastTo   process
	rival    claim    // a member that says that it holds, without this member's grant; answers name it
	seen     []source // by member: the last request; later ones count
	gone     []source // by member: process and term of what it gave back last; answers that name it as holder are old

	// Who holds, as the member's requests and the answers to its own say; elect, start and
	// hold read it.
	holder  claim
	free    int64  // since when no holder is known
	maxTerm uint64 // the highest that was heard of; newTerm is above it

	// Who should hold: elect writes these.
	order []int // of the election
	rank  int   // this node's place in it, or nobody
	stale bool  // order is out of date: whoever changes what it follows from says so

	// Whom elect leaves out.
	out     []int64 // by member: until then, by leaveOut
	silent  []claim // by member: until then, or until it is heard; by lapse, of a holder
	outNext int64   // when the first of both ends; then lapse has it elected anew

	// This node's own part: advance writes these, and NextDeadline follows from them.
	state       State
	since       int64
	began       int64 // to ask, with nobody holding
	term        uint64
	first       uint64  // answers to earlier requests do not count
	acked       []int64 // by member: when the last request that it granted was sent; count reads it
	answers     []reply // by member
	heldUntil   int64   // until when a majority's grants allow to hold; count writes it
	floor       int64   // heldUntil by a list before, which later answers do not make less
	followSince int64   // since when this node should follow a holder that is there
	pause       int64   // nothing is asked before
	tries       int     // in vain, one after another; backoff grows with it
	lastSend    int64
	nextSend    int64
	fast        int64 // until when to ask in quick succession: released writes it
	ready       claim // a candidate that could follow: its requests say so, and hold hands over to it
	newer       int64 // until when somebody is taken to hold by a newer list: superseded writes it, hold and ask give way

	// Another holder, under Availability: clash writes these when it is heard of, hold
	// decides who lets go.
	conflict int   // it, until hold has decided
	clash    int64 // since when there is one, again and again
	clashed  int64 // when it was heard of last

	// What letGo gives back: due says it, and repeats it.
	release  Op
	relTerm  uint64
	repeats  int // to come
	nextRel  int64
	freshRel bool // it was not said yet
}

// process is one life of a member.
type process struct {
	who  int
	boot uint64
}

// grant is a member's promise to one process.
type grant struct {
	to    process
	id    string // of to, which the list may have forgotten
	term  uint64
	until int64
	holds bool
}

func (g *grant) live(now int64) bool { return g.id != "" && g.until > now }

// claim is a member of which something was heard that is true until then.
type claim struct {
	who   int
	boot  uint64
	until int64
}

func (c *claim) live(now int64) bool { return c.who != nobody && c.until > now }

// source is a number of a process's.
type source struct {
	boot, n uint64
}

// reply is the last answer of a member.
type reply struct {
	at      int64
	verdict Verdict
	other   int
}

func newOffice(vip string, members int, now int64) *office {
	o := &office{vip: vip, touched: now, free: now, floor: never, heldUntil: never, followSince: never, clashed: never, turn: never}
	o.resize(members)
	o.granted.to.who, o.lastTo.who = nobody, nobody
	o.holder.who, o.rival.who, o.ready.who = nobody, nobody, nobody
	o.rank, o.conflict, o.stale = nobody, nobody, true
	o.outNext = math.MaxInt64
	return o
}

func (o *office) resize(members int) {
	o.seen, o.gone, o.out = make([]source, members), make([]source, members), make([]int64, members)
	o.silent = make([]claim, members)
	o.acked, o.answers = make([]int64, members), make([]reply, members)
	o.newer = never
	o.clearAnswers()
}

// clearAnswers forgets what members said to earlier requests.
func (o *office) clearAnswers() {
	o.heldUntil, o.floor = never, never
	for i := range o.acked {
		o.acked[i] = never
		o.answers[i] = reply{at: never, other: nobody}
	}
}

// relist moves what is known to the places of another list.
func (o *office) relist(list List, place func(int) int) {
	seen, gone, out, silent := o.seen, o.gone, o.out, o.silent
	floor := max(o.heldUntil, o.floor)
	o.resize(list.Len())
	o.heldUntil, o.floor = floor, floor
	for i := range seen {
		if j := place(i); j != nobody {
			o.seen[j], o.gone[j], o.out[j], o.silent[j] = seen[i], gone[i], out[i], silent[i]
		}
	}
	for _, who := range []*int{&o.granted.to.who, &o.lastTo.who, &o.holder.who, &o.rival.who, &o.ready.who, &o.conflict} {
		*who = place(*who)
	}
	if i, ok := list.Index(o.granted.id); ok {
		o.granted.to.who = i
	}
	if o.elector != nil {
		o.elector = newElector(o.elector.spec, list)
	}
	o.stale = true
}

// sawTerm takes note of a term, below the highest that can be written: there is
// always a next one.
func (o *office) sawTerm(term uint64) { o.maxTerm = max(o.maxTerm, min(term, maxTerm-1)) }

// newTerm is above all terms that were seen.
func (o *office) newTerm() {
	o.maxTerm = min(o.maxTerm+1, maxTerm)
	o.term = o.maxTerm
}

// leaveOut takes member who out of the order until then.
func (o *office) leaveOut(who int, until int64) {
	o.out[who] = max(o.out[who], until)
	o.outNext = min(o.outNext, until)
	o.stale = true
}

// vacant takes note that nobody holds any more. Who asks begins anew: what it
// could not get until now says nothing.
func (o *office) vacant(now int64) {
	o.holder.who = nobody
	o.free, o.began, o.stale = now, now, true
}

// back takes a member into the order again that was left out for being silent,
// and with able also for whatever else.
func (o *office) back(who int, able bool) {
	if o.silent[who].until != 0 {
		o.silent[who], o.stale = claim{}, true
	}
	if able && o.out[who] != 0 {
		o.out[who], o.stale = 0, true
	}
}

// position is a member's place in the order, or nobody.
func (o *office) position(who int) int { return slices.Index(o.order, who) }

// precedes says whether a stands in the order, before b if b does too.
func (o *office) precedes(a, b int) bool {
	i, j := o.position(a), o.position(b)
	return i != nobody && (j == nobody || i < j)
}
