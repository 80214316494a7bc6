package vip

import "math"

// This file holds when each office has its turn, and what is sent then.

// advanceDue brings those offices up to the present of which something was received, or
// for which a time has come. Nothing else can have changed: of 1,024 virtual IPs a message
// names some sixty, and a time comes for a few.
func (g *Grants) advanceDue() {
	g.beating = false
	for _, o := range g.offices {
		if o.state == Holding && o.nextSend <= g.now {
			g.beating = true
			break
		}
	}
	g.turn = g.turn[:0]
	for _, o := range g.offices {
		if o.turn <= g.now || o.stale || g.sendDue(o) {
			g.advance(o)
			g.turn = append(g.turn, o)
		}
	}
}

// schedule works out when an office, which is up to the present, has its next turn.
func (g *Grants) schedule(o *office) {
	o.deadline = g.deadline(o)
	o.turn = min(o.deadline, o.outNext)
	if o.granted.id != "" {
		o.turn = min(o.turn, o.granted.until)
	}
	if o.holder.who != nobody {
		o.turn = min(o.turn, o.holder.until)
	}
	if o.state == Holding && o.heldUntil > g.now { // under Availability it is no deadline
		o.turn = min(o.turn, o.heldUntil)
	}
}

// deadline is when an office has something to do by itself.
func (g *Grants) deadline(o *office) int64 {
	at := int64(math.MaxInt64)
	if o.repeats > 0 {
		at = o.nextRel
	}
	switch o.state {
	case Idle:
	case Waiting:
		switch start, known := g.start(o); {
		case known:
			at = min(at, start)
		case o.holder.live(g.now):
			at = min(at, o.holder.until)
		case o.granted.live(g.now):
			at = min(at, o.granted.until)
		}
	case Asking, Holding:
		at = min(at, o.nextSend)
		policy := g.policy(o)
		if o.state == Asking {
			at = min(at, o.began+g.limit(o, policy))
			if policy == Availability && g.now < o.began+g.t.reach {
				at = min(at, o.began+g.t.reach)
			}
		} else if policy != Availability {
			at = min(at, o.heldUntil)
		}
	}
	return max(at, g.now)
}

// sendDue says whether a request is due now. Renewals keep step: they travel
// together.
func (g *Grants) sendDue(o *office) bool {
	switch o.state {
	case Asking:
		return o.nextSend <= g.now
	case Holding:
		return o.nextSend <= g.now || g.beating && o.nextSend <= g.now+g.t.coalesce
	default:
		return false
	}
}

// due says what is to be said of an office now.
func (g *Grants) due(o *office) (op Op, term uint64, due bool) {
	switch {
	case o.freshRel, o.repeats > 0 && o.nextRel <= g.now:
		if o.freshRel {
			o.freshRel = false
		} else {
			o.repeats--
		}
		if o.repeats > 0 {
			o.nextRel = g.now + g.t.repeat[len(g.t.repeat)-o.repeats]
		}
		return o.release, o.relTerm, true
	case !g.sendDue(o):
		return 0, 0, false
	}
	o.lastSend = g.now
	o.nextSend = g.now + g.t.beat
	if o.state == Asking && g.now < o.fast {
		o.nextSend = g.now + g.t.fastBeat
	}
	switch {
	case o.state == Holding:
		op = Renew
	case g.isReady(o):
		op = AskReady
	default:
		op = Ask
	}
	return op, o.term, true
}

// flush sends what is due, in datagrams of as much as can be answered in one each.
func (g *Grants) flush() {
	var m *Message
	size := 0
	end := func() {
		if m != nil {
			g.actions = append(g.actions, Send{To: g.others, Message: *m})
			m = nil
		}
	}
	for _, o := range g.turn {
		op, term, due := g.due(o)
		if !due || len(g.others) == 0 {
			continue
		}
		it := Item{VIP: o.vip, Term: term, Op: op}
		granted := Item{VIP: o.vip, Term: term, LastTerm: term}
		need := max(it.size(Request), granted.size(Answer))
		if m != nil && (size+need > MaxMessage || len(m.Items) == MaxItems) {
			end()
		}
		if m == nil {
			g.seq++
			g.sent[g.seq%sentKept] = stamp{g.seq, g.now}
			m = &Message{Kind: Request, From: g.self, Boot: g.boot, Seq: g.seq, Revision: g.list.Revision}
			size = m.headSize()
		}
		m.Items = append(m.Items, it)
		size += need
	}
	end()
}
