package vip

import "math"

// This file says what the answers of the members amount to.

// count works out until when a majority's grants allow to hold: KeepFor after
// the latest time such that each of a majority granted a request that was sent
// then or later.
func (g *Grants) count(o *office) {
	o.heldUntil = o.floor
	for at := o.ackedBefore(math.MaxInt64); at != never; at = o.ackedBefore(at) {
		votes := 0
		for i := range o.answers {
			if o.answers[i].acked >= at {
				votes++
			}
		}
		if g.list.Majority(votes) {
			o.heldUntil = max(o.heldUntil, at+g.t.keep)
			return
		}
	}
}

// ackedBefore is when the latest request before then was sent that a member granted, or never.
func (o *office) ackedBefore(limit int64) int64 {
	latest := int64(never)
	for i := range o.answers {
		if at := o.answers[i].acked; at < limit {
			latest = max(latest, at)
		}
	}
	return latest
}

// fresh says whether member i answered a request of the last KeepFor.
func (g *Grants) fresh(o *office, i int) bool {
	return o.answers[i].at != never && g.now-o.answers[i].at <= g.t.keep
}

// heardByMajority says whether a majority answers, whatever it says.
func (g *Grants) heardByMajority(o *office) bool {
	return g.majority(func(i int) bool { return g.fresh(o, i) })
}

// isReady says whether the present holder alone stands in the way.
func (g *Grants) isReady(o *office) bool {
	if !o.holder.live(g.now) || o.holder.who == g.me {
		return false
	}
	mine := func(i int) bool {
		a := o.answers[i]
		return a.verdict == Granted || a.verdict == Taken && int(a.other) == o.holder.who
	}
	if g.majority(func(i int) bool { return g.fresh(o, i) && mine(i) }) {
		return true
	}
	return g.policy(o) == Availability && g.now-o.began >= g.t.reach && g.fresh(o, g.me) && g.reachable(o, mine)
}

// allReachable says whether every member that answers granted.
func (g *Grants) allReachable(o *office) bool {
	return g.fresh(o, g.me) && g.reachable(o, func(i int) bool { return o.answers[i].verdict == Granted })
}

// reachable says whether each member that answers is like that.
func (g *Grants) reachable(o *office, is func(int) bool) bool {
	for i := range o.answers {
		if g.fresh(o, i) && !is(i) {
			return false
		}
	}
	return true
}

func (g *Grants) majority(is func(int) bool) bool {
	votes := 0
	for i := range g.list.Len() {
		if is(i) {
			votes++
		}
	}
	return g.list.Majority(votes)
}
