package vip

import "time"

// receive takes a message of another member, or of one that was a member by an older
// list and goes by that: it must hear that there is another.
func (g *Grants) receive(m *Message) {
	from, ok := g.list.Index(m.From)
	if g.me == nobody || m.From == g.self || !ok && m.Revision >= g.list.Revision {
		return
	}
	switch m.Kind {
	case Request:
		if ok {
			g.request(from, g.list.ids[from:from+1:from+1], m)
		} else {
			g.request(nobody, []string{m.From}, m)
		}
	case Answer:
		g.answer(from, m)
	}
}

// request answers, as a member. from is nobody only where m goes by another list.
func (g *Grants) request(from int, to []string, m *Message) {
	answer := Message{Kind: Answer, From: g.self, Boot: m.Boot, Seq: m.Seq, Revision: g.list.Revision}
	size := answer.headSize()
	for i := range m.Items {
		it, ok := g.requested(from, m, &m.Items[i])
		if !ok {
			continue
		}
		need := it.size(Answer)
		if size+need > MaxMessage {
			g.actions = append(g.actions, Send{To: to, Message: answer})
			answer.Items, size = nil, answer.headSize()
		}
		answer.Items = append(answer.Items, it)
		size += need
	}
	if len(answer.Items) > 0 {
		g.actions = append(g.actions, Send{To: to, Message: answer})
	}
}

// requested takes one item of a request and returns the answer, if there is one.
func (g *Grants) requested(from int, m *Message, it *Item) (Item, bool) {
	answer := Item{VIP: it.VIP, Term: it.Term}
	if m.Revision != g.list.Revision {
		answer.Verdict = OtherList
		if o := g.find(it.VIP); o != nil && m.Revision < g.list.Revision {
			answer.Other = g.holder(o)
			answer.OtherHolds = answer.Other != ""
		}
		return answer, !it.Op.releases()
	}
	o := g.office(it.VIP)
	if o == nil {
		answer.Verdict = Full
		return answer, !it.Op.releases()
	}
	p, has := o.peer(from), o.granted.to == process{from, m.Boot}
	switch {
	case p.seen.boot == m.Boot && m.Seq <= p.seen.n, has && m.Seq <= o.granted.seq:
		return answer, false // late or repeated
	case g.isOver(m.From, m.Boot) && (!has || !o.granted.live(g.now)):
		return answer, false // likewise, or a View that is late itself: who holds goes on
	}
	p.seen = source{m.Boot, m.Seq}
	o.touched, o.turn = g.now, never
	o.back(from, false)
	o.sawTerm(it.Term)
	g.lapse(o)
	if it.Op.releases() {
		g.released(o, from, m.Boot, it)
		return answer, false
	}
	answer = g.asked(o, process{from, m.Boot}, g.list.ID(from), it)
	if answer.Verdict == Granted {
		o.granted.seq = m.Seq
	}
	return answer, true
}

// asked decides on a request for a grant.
func (g *Grants) asked(o *office, from process, id string, it *Item) Item {
	switch it.Op {
	case Renew:
		g.heardHolder(o, from)
	case AskReady:
		o.back(from.who, true)
		g.elect(o)
		if !o.ready.live(g.now) || o.ready.who == from.who || o.choice.precedes(from.who, o.ready.who) {
			o.ready = claim{from.who, from.boot, g.now + 2*g.t.beat}
		}
		fallthrough
	default:
		g.elect(o)
		if o.state == Asking && o.heldUntil <= g.now && !o.holder.live(g.now) && o.choice.precedes(from.who, g.me) {
			g.letGo(o, Yielded)
		}
	}
	answer := Item{VIP: it.VIP, Term: it.Term, LastTerm: o.maxTerm}
	answer.Verdict = g.decide(o, from, id, it.Term, it.Op == Renew)
	switch answer.Verdict {
	case Taken:
		answer.Other, answer.OtherHolds, answer.LastTerm = o.granted.id, o.granted.holds, o.granted.term
		answer.LeftMS = milliseconds(o.granted.until - g.now)
		if o.state == Holding {
			answer.Other, answer.OtherHolds, answer.LastTerm = g.self, true, o.term
			answer.LeftMS = milliseconds(g.t.keep)
		}
		if it.Op == Renew {
			o.rival = claim{from.who, from.boot, g.now + g.t.grant}
		}
	case Quiet:
		answer.LeftMS = milliseconds(g.quiet - g.now)
	case Granted:
		if o.rival.live(g.now) && o.rival.who != from.who {
			answer.Other, answer.OtherHolds = g.list.ID(o.rival.who), true
		}
	case OldTerm:
		answer.LastTerm = max(o.maxTerm, o.lastTerm)
	default:
	}
	return answer
}

// milliseconds rounds up: whoever asks again after that is not too early.
func milliseconds(d int64) uint16 {
	const ms = int64(time.Millisecond)
	return uint16(min(max(0, (d+ms-1)/ms), 0xffff)) //nolint:gosec // bounded
}

// heardHolder takes note of a holder.
func (g *Grants) heardHolder(o *office, from process) {
	if o.state == Holding {
		if g.policy(o) == Availability {
			g.clash(o, from.who)
		}
		return
	}
	if o.holder.who != from.who {
		o.stale = true
	}
	o.holder = claim{from.who, from.boot, g.now + g.t.grant}
	o.back(from.who, true)
	o.tries = 0
}

// clash takes note of another holder, as one that holds under Availability.
func (g *Grants) clash(o *office, other int) {
	if o.clashed+g.t.grant < g.now {
		o.clash = g.now
	}
	o.conflict, o.clashed = other, g.now
}

// released takes back what a member gives back.
func (g *Grants) released(o *office, from int, boot uint64, it *Item) {
	o.peer(from).gone = source{boot, it.Term}
	if o.granted.to == (process{from, boot}) && o.granted.term <= it.Term {
		o.granted = grant{to: process{who: nobody}}
		o.free = g.now
	}
	if o.holder.who == from && o.holder.boot == boot {
		o.vacant(g.now)
	}
	if o.ready.who == from {
		o.ready.who = nobody
	}
	if o.rival.who == from {
		o.rival.who = nobody
	}
	switch it.Op {
	case GaveUp:
		o.leaveOut(from, g.now+g.t.failed)
	case Resigned:
		o.leaveOut(from, g.now+g.t.resigned)
	default:
	}
	o.fast = g.now + g.t.fast
	if o.state == Asking {
		o.nextSend = min(o.nextSend, max(g.now, o.lastSend+g.t.again))
	}
}

// answer takes what a member says to this node's request.
func (g *Grants) answer(from int, m *Message) {
	at, known := g.sentAt(m.Seq)
	if !known || m.Boot != g.boot {
		return
	}
	if m.Revision != g.list.Revision {
		g.superseded(m)
		return
	}
	for i := range m.Items {
		it := &m.Items[i]
		o := g.find(it.VIP)
		if o == nil || o.state != Asking && o.state != Holding || m.Seq < o.first || it.Term != o.term {
			continue
		}
		g.answered(o, from, at, it)
	}
}

// superseded takes note of who holds by a list that has taken the place of this
// node's: Availability gives way to that.
func (g *Grants) superseded(m *Message) {
	if m.Revision < g.list.Revision {
		return
	}
	for i := range m.Items {
		it := &m.Items[i]
		if o := g.find(it.VIP); o != nil && it.Verdict == OtherList && it.OtherHolds && it.Other != g.self {
			o.newer, o.turn = g.now+g.t.grant, never
		}
	}
}

func (g *Grants) answered(o *office, from int, sent int64, it *Item) {
	other := nobody
	if i, ok := g.list.Index(it.Other); ok {
		other = i
	}
	o.turn = never
	o.sawTerm(it.LastTerm)
	said := &o.answers[from]
	said.at, said.verdict, said.other = g.now, it.Verdict, int32(other) //nolint:gosec // MaxMembers
	holds := it.OtherHolds && other != nobody && other != g.me && it.LastTerm > o.known(other).gone.n
	if o.state == Holding && it.OtherHolds && other != nobody && other != g.me && g.policy(o) == Availability {
		g.clash(o, other)
	}
	switch it.Verdict {
	case Granted:
		if sent > said.acked {
			said.acked = sent
			g.count(o)
		}
	case Taken, Quiet:
		if o.state != Asking {
			return
		}
		left := min(int64(it.LeftMS)*int64(time.Millisecond), g.t.grant) // no grant lasts longer
		if it.Verdict == Taken && holds {
			g.toldOfHolder(o, other, left)
		}
		o.nextSend = min(o.nextSend, max(o.lastSend+g.t.retry, g.now+left))
	case OldTerm:
		if o.state == Asking && it.LastTerm >= o.term {
			g.raiseTerm(o, it.LastTerm)
		}
	default:
	}
}

// toldOfHolder takes note of a holder that another member granted to. It may be
// gone: what the member says holds for as long as the grant was renewed.
func (g *Grants) toldOfHolder(o *office, who int, left int64) {
	if o.holder.live(g.now) && o.holder.who != who {
		return // what was heard goes before what was told
	}
	until := g.now + left
	if o.holder.who != who {
		o.holder, o.stale = claim{who: who, until: until}, true
	}
	o.holder.until = max(o.holder.until, until)
	if left > g.t.beat {
		o.back(who, true)
	}
}
