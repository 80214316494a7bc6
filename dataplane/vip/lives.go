package vip

import (
	"slices"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// followedKept bounds the processes of a member that are known to be over. Of those that are
// older the network has nothing left, and whoever recorded it can hold up no more than he could
// by sending what these said.
const followedKept = 4

// maxLives bounds the members of which processes are known.
const maxLives = 2 * MaxMembers

// lives are the processes of one member that Views have shown: the last, and some before it.
type lives struct {
	boot uint64
	over []uint64 // the latest first
}

// sawProcess takes note of a member's process.
func (g *Grants) sawProcess(m member.Member) {
	if m.Boot == 0 || m.ID == g.self {
		return
	}
	l := g.lives[m.ID]
	switch {
	case l == nil && len(g.lives) >= maxLives:
		g.lives = map[string]*lives{} // who is over is forgotten, which costs time at most
		fallthrough
	case l == nil:
		g.lives[m.ID] = &lives{boot: m.Boot}
	case l.boot != m.Boot:
		over := slices.DeleteFunc(append([]uint64{l.boot}, l.over...), func(boot uint64) bool { return boot == m.Boot })
		l.boot, l.over = m.Boot, over[:min(len(over), followedKept)]
	}
}

// isOver says whether a process has been followed by another of its member, so that what it says
// is late, whatever it is: nobody waits for an answer, and it must not be taken to hold. A
// process that no View has shown yet is the next.
func (g *Grants) isOver(id string, boot uint64) bool {
	l := g.lives[id]
	return l != nil && slices.Contains(l.over, boot)
}
