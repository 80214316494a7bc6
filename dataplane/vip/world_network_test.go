package vip

import (
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// What nodes of a world hear of each other: messages, and what gossip knows.

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
	w.sendAgain(from, to, data)
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

// sendAgain has somebody who listens send what he has heard at any time before.
func (w *world) sendAgain(from, to int, data []byte) {
	if w.c.again == 0 {
		return
	}
	if w.old == nil {
		w.old = make([][]sent, len(w.nodes))
	}
	w.old[to] = append(w.old[to], sent{from, data})
	for w.chance(w.c.again) {
		// Some that followed one another, in their order.
		at := w.rnd.IntN(len(w.old[to]))
		for i, s := range w.old[to][at:min(at+1+w.rnd.IntN(4), len(w.old[to]))] {
			w.push(simEvent{at: w.now + w.between(w.c.delay) + int64(i), kind: evMessage, node: to, from: s.from, data: s.data})
		}
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
