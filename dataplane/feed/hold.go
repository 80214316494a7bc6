package feed

import (
	"fmt"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// heldShare is the part of the routes, as one in so many, that a new epoch may
// take away without being asked about. A store that was wiped takes all; one that
// was put back from last night's backup takes what was made today.
const heldShare = 10

// loss is what runs, and what of that another configuration does not have.
type loss struct {
	routes, routesLost         uint32
	virtualIPs, virtualIPsLost uint32
	listeners, listenersLost   uint32
}

// held says whether so much may not go without being asked about.
func (l loss) held() bool {
	return l.virtualIPsLost > 0 || l.listenersLost > 0 || uint64(l.routesLost)*heldShare > uint64(l.routes)
}

func (l loss) proto() *fleetv1.Loss {
	return &fleetv1.Loss{
		Routes: l.routes, RoutesLost: l.routesLost,
		VirtualIps: l.virtualIPs, VirtualIpsLost: l.virtualIPsLost,
		Listeners: l.listeners, ListenersLost: l.listenersLost,
	}
}

// String is what is lost, for people.
func (l loss) String() string {
	text := fmt.Sprintf("%d of %d routes", l.routesLost, l.routes)
	if l.listenersLost > 0 {
		text += fmt.Sprintf(" and %d of %d listeners", l.listenersLost, l.listeners)
	}
	if l.virtualIPs > 0 {
		text += fmt.Sprintf(" and %d of %d virtual IPs", l.virtualIPsLost, l.virtualIPs)
	}
	return text
}

// lossOf compares two configurations. Routes run on listeners: where none is
// left, none of them does. pause is called after each resource.
func lossOf(have, next tree.Tree, pause func()) loss {
	var l loss
	if have.Root() == next.Root() {
		return l
	}
	for leaf := range have.All() {
		switch leaf.Key.Kind {
		case resource.Route:
			l.routes++
			if _, ok := next.Get(leaf.Key); !ok {
				l.routesLost++
			}
		case resource.VirtualIP:
			l.virtualIPs++
			if _, ok := next.Get(leaf.Key); !ok {
				l.virtualIPsLost++
			}
		case resource.Listener:
			l.listeners++
			if _, ok := next.Get(leaf.Key); !ok {
				l.listenersLost++
			}
		}
		pause()
	}
	left := l.listeners == 0
	for leaf := range next.All() {
		if left = left || leaf.Key.Kind == resource.Listener; left {
			break
		}
		pause()
	}
	if !left {
		l.routesLost = l.routes
	}
	return l
}

// hold is the refusal of a new epoch that takes too much from what runs here, or
// would run if it could be put into force. Within an epoch people remove what
// they like: the control plane asks them itself about what looks like a slip.
func (a *applier) hold(u *update, next tree.Tree) *answer {
	was := a.restored
	if a.live != nil {
		was = &attempt{version: a.running, result: a.live}
	}
	if u.accepted || was == nil || u.target.Epoch <= was.version.Epoch {
		return nil
	}
	var l loss
	a.paced(func(pause func()) { l = lossOf(was.result.Tree, next, pause) })
	if !l.held() {
		return nil
	}
	return &answer{version: u.target, kind: fleetv1.Nack_HELD, loss: l.proto(), problems: []resource.Problem{{
		Got: fmt.Sprintf("epoch %d, which begins without %s that epoch %d has here: the store was wiped, replaced or put back",
			u.target.Epoch, l, was.version.Epoch),
		Expected: fmt.Sprintf("a new epoch that has all listeners and virtual IPs and at least %d %% of the routes: apply the files again, "+
			"or accept the loss with `proxyctl epoch accept`", 100-100/heldShare),
	}}}
}

// resume tries the last known good configuration again while nothing runs, when that
// was due. It was given up for a control plane, which may want nothing yet, or for an
// update that this node refused: that is no reason to serve nothing. Nor is one that ends
// each stream at once, more often than the tries come.
func (a *applier) resume() {
	if a.live != nil || a.restored == nil {
		return
	}
	a.pending = a.restored
	a.pending.timer = time.NewTimer(time.Until(a.pending.due))
}
