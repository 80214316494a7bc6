//go:build linux

package evloop

import (
	"cmp"
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
)

const (
	// shedEvery is how often idle connections are looked through under pressure,
	// and shedShare the part of all that is closed each time: a node full of idle
	// ones is rid of them in about a second.
	shedEvery = int64(50e6)
	shedShare = 20
	// shedLeast keeps a node with few connections from shedding none.
	shedLeast = 16
)

// overloaded says that new work is refused: the answer costs less than what it
// saves.
func (l *Loop) overloaded() bool {
	return pressure.Level(l.engine.pressure.Load()) == pressure.Critical
}

// shed closes idle client connections under memory pressure, the longest idle
// first.
func (l *Loop) shed() {
	if pressure.Level(l.engine.pressure.Load()) == pressure.Calm {
		l.shedAgain = 0
		return
	}
	if l.now < l.shedAgain {
		return
	}
	l.shedAgain = l.now + shedEvery
	var idle []*downstream
	for _, k := range l.links {
		if d := k.down; !k.closed && d != nil && d.phase == phaseHead && d.headStart == 0 && !k.readable && k.out.len() == 0 && !d.closing {
			idle = append(idle, d)
		}
	}
	slices.SortFunc(idle, func(a, b *downstream) int { return cmp.Compare(a.since, b.since) })
	for _, d := range idle[:min(len(idle), max(l.downs/shedShare, shedLeast))] {
		l.closeDown(d)
	}
}
