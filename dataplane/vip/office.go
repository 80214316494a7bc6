package vip

import (
	"cmp"
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
	rival    claim // a member that says that it holds, without this member's grant; answers name it

	// Of members that had a part in it: most never ask for it, and of a thousand virtual IPs
	// and as many members each word that is kept takes megabytes. By place.
	peers []peer

	// Who holds, as the member's requests and the answers to its own say; elect, start and
	// hold read it.
	holder  claim
	free    int64  // since when no holder is known
	maxTerm uint64 // the highest that was heard of; newTerm is above it

	// Who should hold: elect writes these.
	choice choice
	stale  bool // it is out of date: whoever changes what it follows from says so

	outNext int64 // when the first peer is not left out any more; then lapse has it elected anew

	// This node's own part: advance writes these, and NextDeadline follows from them.
	state       State
	since       int64
	began       int64 // to ask, with nobody holding
	term        uint64
	first       uint64  // answers to earlier requests do not count
	answers     []reply // by member; nil where this node neither asks nor holds
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
	// seq is the request that it was given by last. What to's process said before does not end
	// it, whoever that member was heard as meanwhile.
	seq uint64
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

// reply is what a member answered.
type reply struct {
	acked   int64 // when the last request that it granted was sent, or never; count reads it
	at      int64 // when its last answer came, or never; what that says stands behind
	other   int32
	verdict Verdict
}

// peer is what is known of a member that had a part in a virtual IP.
type peer struct {
	who  int
	seen source // the last request; later ones of its process count, and those of another
	gone source // process and term of what it gave back last; answers that name it as holder are old

	// elect leaves it out until then; 0: not.
	out    int64  // by leaveOut
	silent int64  // or until it is heard; by fellSilent, of a holder
	boot   uint64 // the process that fell silent; 0: any
}

func newOffice(vip string, now int64) *office {
	o := &office{vip: vip, touched: now, free: now, newer: never, followSince: never, clashed: never, turn: never}
	o.clearAnswers()
	o.granted.to.who, o.lastTo.who = nobody, nobody
	o.holder.who, o.rival.who, o.ready.who = nobody, nobody, nobody
	o.conflict, o.stale = nobody, true
	o.outNext = math.MaxInt64
	return o
}

// clearAnswers forgets what members said to earlier requests, which were the last for now.
func (o *office) clearAnswers() {
	o.heldUntil, o.floor, o.answers = never, never, nil
}

// expectAnswers forgets what members said to earlier requests, and makes room for what that
// many say to those that follow.
func (o *office) expectAnswers(members int) {
	o.heldUntil, o.floor = never, never
	if len(o.answers) != members {
		o.answers = make([]reply, members)
	}
	for i := range o.answers {
		o.answers[i] = reply{acked: never, at: never, other: nobody}
	}
}

// peer is what is known of a member, valid until the next call; new if nothing is.
func (o *office) peer(who int) *peer {
	i, ok := o.search(who)
	if !ok {
		o.peers = slices.Insert(o.peers, i, peer{who: who})
	}
	return &o.peers[i]
}

// known is what is known of a member, or the zero value.
func (o *office) known(who int) peer {
	if i, ok := o.search(who); ok {
		return o.peers[i]
	}
	return peer{}
}

func (o *office) search(who int) (int, bool) {
	return slices.BinarySearchFunc(o.peers, who, func(p peer, who int) int { return cmp.Compare(p.who, who) })
}

// relist moves what is known to the places of another list.
func (o *office) relist(list List, moved *move) {
	floor := max(o.heldUntil, o.floor)
	if o.answers != nil {
		o.expectAnswers(list.Len())
	}
	o.heldUntil, o.floor, o.newer = floor, floor, never
	kept := o.peers[:0]
	for _, p := range o.peers {
		if p.who = moved.to(p.who); p.who != nobody {
			kept = append(kept, p) // in the order of ids still
		}
	}
	o.peers = kept
	for _, who := range []*int{&o.granted.to.who, &o.lastTo.who, &o.holder.who, &o.rival.who, &o.ready.who, &o.conflict} {
		*who = moved.to(*who)
	}
	if i, ok := list.Index(o.granted.id); ok {
		o.granted.to.who = i
	}
	if o.elector != nil {
		o.elector = newElector(o.elector.spec, list, o.elector, moved)
	}
	o.choice.none()
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
	p := o.peer(who)
	p.out = max(p.out, until)
	o.outNext = min(o.outNext, until)
	o.stale = true
}

// fellSilent takes a holder that was not heard out of the order, until then at most.
func (o *office) fellSilent(h claim, until int64) {
	p := o.peer(h.who)
	p.silent, p.boot = until, h.boot
	o.outNext = min(o.outNext, until)
}

// vacant takes note that nobody holds any more. Whoever asks begins anew: what it
// could not get until now says nothing.
func (o *office) vacant(now int64) {
	o.holder.who = nobody
	o.free, o.began, o.stale = now, now, true
}

// back takes a member into the order again that was left out for being silent,
// and with able also for whatever else.
func (o *office) back(who int, able bool) {
	i, ok := o.search(who)
	if !ok {
		return
	}
	p := &o.peers[i]
	if p.silent != 0 {
		p.silent, o.stale = 0, true
	}
	if able && p.out != 0 {
		p.out, o.stale = 0, true
	}
}
