//go:build linux

package evloop

import (
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
)

// This file spreads connections over loops. The kernel's hash does it by chance,
// and of few connections chance gives one loop half, or all. A connection stays
// where it was begun, so that its loop is chosen when it is accepted.

const (
	// compared is how many other loops a loop looks at before it keeps a
	// connection: all of most nodes. Each costs a cache miss.
	compared = 8
	// unevenShare is how uneven loops may be, one in so many: handing over costs a
	// wake-up, and among many connections some more on a loop do no harm. Below so
	// many each one counts, since it may be of HTTP/2 and carry a lot.
	unevenShare = 8
)

// lighter is the loop that should have the next connection instead of this one;
// nil: none.
func (l *Loop) lighter() *Loop {
	others := len(l.engine.loops) - 1
	own := l.counts.weight()
	below := own - own/unevenShare
	if others == 0 || below <= 0 {
		return nil
	}
	var least *Loop
	start := int(l.random.Uint64() % uint64(others))
	for i := range min(others, compared) {
		other := l.engine.loops[(l.id+1+(start+i)%others)%(others+1)]
		if w := other.counts.weight(); w < below {
			least, below = other, w
		}
	}
	return least
}

// giveAway gives a connection to another loop; false: it takes none now.
func (l *Loop) giveAway(other *Loop, s *socket, fd int, peer netip.AddrPort) bool {
	// Counted before it is there, for whatever has a limit: many connections may come
	// in one turn.
	other.counts.coming.Add(1)
	s.binding.clientele.open.Add(1)
	if !other.mail.post(mail{kind: mailAdopt, fd: fd, peer: peer, from: s.binding, listener: s.listener}) {
		other.counts.coming.Add(-1)
		s.binding.clientele.open.Add(-1)
		return false
	}
	l.stats.Add(stats.ClientsHandedOver, 1)
	return true
}
