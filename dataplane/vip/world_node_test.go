package vip

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// A node of a world: its process, and the addresses that it holds.

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
