package vip

import "sort"

// What may happen to the machines of a world.

// crash ends a node's process; whatever started it takes the addresses off soon.
func (w *world) crash(i int) {
	m := w.nodes[i]
	if !m.up {
		return
	}
	for _, o := range m.g.offices {
		m.promised = append(m.promised, grantOf{o.vip, o.granted})
	}
	m.up, m.g, m.inbox, m.stopped, m.frozen = false, nil, nil, false, false
	w.log("%s crashes", m.id)
	left := m.address
	off := func() {
		for _, vip := range sortedKeys(left) {
			if m.address[vip] == left[vip] {
				w.takeOff(m, vip, 0)
			}
		}
	}
	if w.c.actionTime == 0 {
		off()
	} else {
		w.after(w.rnd.Int64N(w.c.actionTime), off)
	}
	for j := range w.nodes {
		if j != i {
			w.gossip(j, i, w.between(w.c.downLag))
		}
	}
}

func (w *world) clearAddresses(m *machine, why Op) {
	for _, vip := range sortedKeys(m.address) {
		w.takeOff(m, vip, why)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// stop keeps the process from running for a while: its address stays, until the
// kernel's lease ends.
func (w *world) stop(i int, d int64) {
	m := w.nodes[i]
	if !m.up || m.stopped || m.frozen {
		return
	}
	m.stopped, m.stoppedAt = true, w.now
	w.log("%s stops", m.id)
	for _, a := range m.address {
		a.excuse = w.now + kernelLease + 100*ms
	}
	life, at := m.life, w.now
	w.after(kernelLease, func() {
		if m.life == life && m.stopped && m.stoppedAt == at {
			w.clearAddresses(m, 0)
		}
	})
	w.after(d, func() { w.resume(i, life, at) })
}

// freeze stops the whole machine, clock and all.
func (w *world) freeze(i int, d int64) {
	m := w.nodes[i]
	if !m.up || m.stopped || m.frozen {
		return
	}
	m.frozen, m.stoppedAt = true, w.now
	w.log("%s freezes", m.id)
	life, at := m.life, w.now
	for _, a := range m.address {
		a.excuse = w.now + d + int64(GrantFor) // it does not answer before it resumes
	}
	w.after(d, func() {
		if m.life == life && m.stoppedAt == at && m.frozen {
			m.base -= int64(float64(d) * m.rate)
			m.thawed = w.now
			w.resume(i, life, at)
		}
	})
}

func (w *world) resume(i, life int, at int64) {
	m := w.nodes[i]
	if m.life != life || m.stoppedAt != at || !m.up {
		return
	}
	m.stopped, m.frozen = false, false
	w.log("%s resumes", m.id)
	w.step(i)
}
