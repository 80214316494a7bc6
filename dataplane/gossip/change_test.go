package gossip

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// TestAChangeIsHeardSoonWhateverElseIsSaidOfTheNode changes what nodes say while
// they join: memberlist drops a change that meets something older about the node.
// Others would hear of it by the next exchange of all that is known, in 15 s.
func TestAChangeIsHeardSoonWhateverElseIsSaidOfTheNode(t *testing.T) {
	t.Parallel()
	for range 8 {
		f := newFleet(t)
		var nodes []*node
		for _, id := range []string{"a", "b", "c"} {
			c := f.config(id, f.all()...)
			c.Timing = Timing{} // what a fleet has
			n := f.start(c)
			n.SetSelf(Self{Flags: member.Witness})
			nodes = append(nodes, n)
		}
		f.see("a b c", nodes...)
		<-time.After(rand.N(300 * time.Millisecond)) // any moment of joining
		for _, n := range nodes {
			n.SetSelf(Self{Flags: member.Eligible})
		}
		took := f.eventually("all say that they are eligible, and all hear it", func() bool {
			for _, n := range nodes {
				for m := range n.View().All() {
					if m.Flags != member.Eligible {
						return false
					}
				}
			}
			return true
		})
		if took > 7*time.Second {
			t.Errorf("heard after %s", took)
		}
		for _, n := range nodes {
			n.stop()
		}
	}
}
