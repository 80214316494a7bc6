package exchange

import (
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Explain has each step reported by which Begin finds the route of a request that peer
// sends to a listener (see table.Listener.Explain). problem: the request is refused before,
// as malformed, and why.
func Explain(l *table.Listener, head *message.Head, peer netip.Addr, report func(table.Step)) (problem string) {
	client := netip.AddrPortFrom(peer, 0)
	x := Exchange{head: head, peer: client, client: client}
	env := Env{Listener: l}
	x.meet(l)
	if problem = x.normalise(&env); problem == "" {
		l.Explain(x.asks(&env), report)
	}
	return problem
}
