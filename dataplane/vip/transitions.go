package vip

import "math"

// This file holds every transition.
//
//	Idle    → Waiting  the node becomes a candidate
//	Waiting → Asking   nobody holds, or one holds that this node should follow,
//	                   and it is this node's turn
//	Asking  → Holding  a majority granted (Availability: all that answer did)
//	Asking  → Waiting  GaveUp: in vain; Yielded: another goes first
//	Holding → Waiting  Lost, HandedOver, Conceded
//	any     → Idle     the node is no candidate any more; a holder goes on until
//	                   it is Resigned or its follower is ready
//
// A grant has two: given (to nobody or the same process before, or run out) and
// gone (run out, given back).

// advance brings one office up to the present.
func (g *Grants) advance(o *office) {
	g.lapse(o)
	for range 4 { // a state each at most
		was := o.state
		g.elect(o)
		switch o.state {
		case Idle:
			if g.chosen(o) {
				g.enter(o, Waiting)
			}
		case Waiting:
			g.wait(o)
		case Asking:
			g.ask(o)
		case Holding:
			g.hold(o)
		}
		if o.state == was {
			return
		}
	}
}

func (g *Grants) enter(o *office, s State) {
	o.state, o.since = s, g.now
	if s == Waiting {
		o.followSince = never
	}
}

// lapse ends what has run out.
func (g *Grants) lapse(o *office) {
	if o.granted.id != "" && !o.granted.live(g.now) {
		if who := o.granted.to.who; who != nobody && who != g.me && !o.granted.holds {
			o.leaveOut(who, g.now+g.t.failed) // asked, and did not get to hold
		}
		o.granted = grant{to: process{who: nobody}}
		o.free = g.now
	}
	if o.holder.who != nobody && o.holder.until <= g.now {
		if who := o.holder.who; who != g.me {
			o.fellSilent(o.holder, g.now+g.t.silent)
		}
		o.vacant(g.now)
	}
	if o.outNext <= g.now {
		o.outNext = math.MaxInt64
		for i := range o.peers {
			for _, until := range [...]int64{o.peers[i].out, o.peers[i].silent} {
				if until > g.now {
					o.outNext = min(o.outNext, until)
				}
			}
		}
		o.stale = true
	}
}

// elect orders the candidates anew if what that follows from has changed.
func (g *Grants) elect(o *office) {
	if !o.stale {
		return
	}
	o.stale = false
	o.choice.none()
	if o.elector == nil || g.me == nobody {
		return
	}
	incumbent := o.holder.who
	if o.state == Holding {
		incumbent = g.me
	}
	if h, ok := g.among().holder(g.list, o.vip); ok {
		o.sawTerm(h.term)
		if h.who != nobody && h.who != g.me && incumbent == nobody {
			incumbent = h.who
		}
	}
	o.elector.choose(&o.choice, g.among(), incumbent, g.leftOut(o))
}

// chosen says whether this node is one of those that should hold, the first of them or not.
func (g *Grants) chosen(o *office) bool { return o.choice.in.has(g.me) }

// leftOut are the members that are left out, valid until the next call; nil: none.
func (g *Grants) leftOut(o *office) subset {
	var out subset
	for i := range o.peers {
		if p := &o.peers[i]; p.who != g.me && g.isOut(p) {
			if out == nil {
				out = g.scratch
				clear(out)
			}
			out.add(p.who)
		}
	}
	return out
}

// isOut says whether to leave out a member. Silence is a process's: another one
// of that member has not been silent.
func (g *Grants) isOut(p *peer) bool {
	if p.out > g.now {
		return true
	}
	if p.silent <= g.now {
		return false
	}
	boot, ok := g.among().boot(p.who)
	return ok && (p.boot == 0 || p.boot == boot)
}

// held says whether a holder is there that this node should not follow.
func (g *Grants) held(o *office) bool {
	return o.holder.live(g.now) && o.holder.who != g.me && o.choice.precedes(o.holder.who, g.me)
}

// start is when a waiting candidate may ask, and whether that is known. What is later than now
// may turn out to be later still: who stands before this node is counted only as far as it keeps
// it from asking now.
func (g *Grants) start(o *office) (at int64, known bool) {
	if !g.chosen(o) || g.held(o) {
		return 0, false
	}
	base := o.free
	switch {
	case o.holder.live(g.now) && o.holder.who != g.me:
		base = o.followSince
	case o.granted.live(g.now) && o.granted.to.who != g.me:
		return 0, false // another asks: its turn
	}
	base = max(base, g.quiet)
	slots := 0 // that have begun
	if g.now >= base {
		slots = int((g.now-base)/g.t.slot) + 1
	}
	return max(base+int64(o.choice.ahead(g.me, slots))*g.t.slot, o.pause), true
}

// wait begins to ask when the time has come.
func (g *Grants) wait(o *office) {
	if !g.chosen(o) {
		g.enter(o, Idle)
		return
	}
	if !o.holder.live(g.now) || g.held(o) {
		o.followSince = never
	} else if o.followSince == never {
		o.followSince = g.now
	}
	if at, known := g.start(o); !known || at > g.now {
		return
	}
	g.enter(o, Asking)
	o.newTerm()
	o.expectAnswers(g.list.Len())
	o.began, o.first, o.nextSend, o.lastSend = g.now, g.seq+1, g.now, never
	o.repeats, o.freshRel = 0, false
}

// ask goes on until a majority granted, or it turns out that none does.
func (g *Grants) ask(o *office) {
	g.answerOwn(o)
	policy := g.policy(o)
	asked := g.now - o.began
	switch {
	case !g.chosen(o):
		g.letGo(o, Resigned)
	case o.heldUntil > g.now:
		g.claim(o)
	case g.held(o):
		g.letGo(o, Yielded)
	case policy == Availability && asked >= g.t.reach && o.newer <= g.now && g.allReachable(o):
		g.claim(o)
	case asked >= g.limit(o, policy):
		g.letGo(o, GaveUp)
	}
}

// limit is for how long a candidate asks.
func (g *Grants) limit(o *office, policy Policy) int64 {
	switch {
	case g.isReady(o):
		return g.t.ready
	case policy == Availability:
		return g.t.reach + g.t.ask
	}
	return g.t.ask
}

func (g *Grants) claim(o *office) {
	g.enter(o, Holding)
	o.tries, o.conflict, o.ready.who, o.holder.who = 0, nobody, nobody, nobody
	o.clashed = never
	o.nextSend = g.now
	o.stale = true
	g.actions = append(g.actions, Claim{VIP: o.vip, Term: o.term, Until: g.until(o)})
}

// hold goes on until there is a reason to let go.
func (g *Grants) hold(o *office) {
	g.answerOwn(o)
	policy := g.policy(o)
	switch {
	case !g.canHold(o):
		g.letGo(o, Resigned)
	case o.heldUntil <= g.now && policy != Availability:
		g.letGo(o, Lost)
	case o.heldUntil <= g.now && o.newer > g.now:
		g.letGo(o, Conceded)
	case o.conflict != nobody:
		other := o.conflict
		o.conflict = nobody
		if g.givesWay(o, other) {
			g.letGo(o, Conceded)
			return
		}
		g.actions = append(g.actions, Conflict{VIP: o.vip, Other: g.list.ID(other)})
	case o.ready.live(g.now) && o.choice.precedes(o.ready.who, g.me):
		g.letGo(o, HandedOver)
	}
}

// givesWay says whether this node, which holds and hears that another does, is the one
// to let go: the one of lower rank. Nodes whose configurations differ may both take
// themselves for the one of higher rank, or one may hold by a majority and not ask. If
// neither lets go, that is settled by what stands in no configuration, and at last by
// who has the grants of a majority.
func (g *Grants) givesWay(o *office, other int) bool {
	switch lasts := g.now - o.clash; {
	case o.elector.outranks(other, g.me):
		return true
	case o.heldUntil > g.now || lasts < g.t.clash:
		return false
	case lasts < 2*g.t.clash:
		return o.elector.byWeight(other, g.me) < 0
	}
	return true
}

// canHold says whether this node, which holds, may go on: well or badly.
func (g *Grants) canHold(o *office) bool {
	if o.elector == nil || g.me == nobody {
		return false
	}
	m, ok := g.view.Get(g.self)
	return ok && o.elector.able(g.me, m)
}

// letGo ends asking or holding, and gives back what was granted.
func (g *Grants) letGo(o *office, why Op) {
	if o.state == Holding {
		g.actions = append(g.actions, Drop{VIP: o.vip, Term: o.term, Reason: why})
		o.free = g.now
	}
	if o.granted.id == g.self {
		o.granted = grant{to: process{who: nobody}}
	}
	switch why {
	case GaveUp:
		o.pause = g.now + g.backoff(o)
		o.tries++
	case Yielded:
		o.pause = g.now + g.t.retry
	case Lost, Conceded:
		o.pause = g.now + g.t.slot
	default:
	}
	o.release, o.relTerm, o.freshRel = why, o.term, true
	o.repeats, o.nextRel = len(g.t.repeat), g.now
	o.clearAnswers()
	o.ready.who, o.conflict, o.stale = nobody, nobody, true
	g.enter(o, Waiting)
}

// backoff is how long a candidate rests that asked in vain. One that a majority
// answered, while nobody holds, met another candidate: chance parts the two. One
// that no majority answers cannot hold, and stands aside for those who can.
func (g *Grants) backoff(o *office) int64 {
	chance := int64(scramble(g.boot^o.elector.weigh(g.me)+uint64(o.tries)) % uint64(g.t.slot)) //nolint:gosec // below slot
	if g.heardByMajority(o) && !o.holder.live(g.now) {
		return chance
	}
	pause := g.t.firstPause << min(o.tries, 8)
	return min(pause, g.t.lastPause) + chance
}

// scramble is splitmix64's finalizer.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// answerOwn has this node, as a member, answer its own request when that is due.
func (g *Grants) answerOwn(o *office) {
	if !g.sendDue(o) || g.me == nobody {
		return
	}
	verdict := g.decide(o, process{g.me, g.boot}, g.self, o.term, o.state == Holding)
	if verdict == OldTerm {
		g.raiseTerm(o, o.lastTerm)
		verdict = g.decide(o, process{g.me, g.boot}, g.self, o.term, o.state == Holding)
	}
	own := &o.answers[g.me]
	own.at, own.verdict, own.other = g.now, verdict, int32(o.granted.to.who) //nolint:gosec // MaxMembers
	if verdict == Granted {
		own.acked = g.now
		g.count(o)
	}
}

// raiseTerm begins the request anew with a term above all that are known.
func (g *Grants) raiseTerm(o *office, known uint64) {
	o.sawTerm(known)
	o.newTerm()
	o.expectAnswers(g.list.Len())
	o.first, o.nextSend = g.seq+1, g.now
}

// decide is a member's answer to one process's request, and gives the grant if
// that is the answer.
func (g *Grants) decide(o *office, from process, id string, term uint64, holds bool) Verdict {
	switch {
	case g.now < g.quiet:
		return Quiet
	case o.granted.live(g.now) && (o.granted.id != id || o.granted.to.boot != from.boot):
		return Taken
	case o.state == Holding && from.who != g.me:
		return Taken // this node holds under Availability, its own grant run out
	case !holds && term <= o.lastTerm && term < maxTerm && o.lastTo != from:
		return OldTerm // above maxTerm there is none: whoever made it so high must not end it all
	}
	o.granted = grant{to: from, id: id, term: term, until: g.now + g.t.grant, holds: holds}
	if term >= o.lastTerm {
		o.lastTerm, o.lastTo = term, from
	}
	return Granted
}

func (g *Grants) policy(o *office) Policy {
	if o.elector == nil {
		return Majority
	}
	p, _ := o.elector.policy()
	return p
}
