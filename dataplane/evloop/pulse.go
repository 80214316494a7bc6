//go:build linux

package evloop

import "github.com/proxyfleet/proxyfleet/dataplane/stats"

// missedBeats is how often in a row a loop may have had no turn: on a machine that
// is busy with other things it may have to wait for a processor.
const missedBeats = 2

// Pulse tells whether all loops go on turning. It belongs to one goroutine.
type Pulse struct {
	engine *Engine
	seen   []uint64
	missed []int
}

// Pulse returns a new one.
func (e *Engine) Pulse() *Pulse {
	return &Pulse{engine: e, seen: make([]uint64, len(e.loops)), missed: make([]int, len(e.loops))}
}

// Beat says whether each loop has had a turn since one of the last calls, and asks
// each for another: a loop that has nothing to do turns too.
func (p *Pulse) Beat() bool {
	all := true
	for i, l := range p.engine.loops {
		if turns := p.engine.stats.LoopCounter(i, stats.Turns); turns != p.seen[i] {
			p.seen[i], p.missed[i] = turns, 0
		} else {
			p.missed[i]++
		}
		all = all && p.missed[i] <= missedBeats && p.seen[i] > 0
		l.poller.Wake()
	}
	return all
}
