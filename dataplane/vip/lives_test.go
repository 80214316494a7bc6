package vip

import (
	"fmt"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// TestAProcessThatIsOverIsNotHeard: somebody who recorded its renewals could have it taken for
// the holder for as long as he sends them.
func TestAProcessThatIsOverIsNotHeard(t *testing.T) {
	g := grantee(t)
	now, seq := 300*ms, uint64(0)
	answered := func(boot uint64, view member.View) bool {
		now, seq = now+ms, seq+1
		m := Message{Kind: Request, From: "a", Boot: boot, Seq: seq, Revision: 1, Items: []Item{{VIP: fmt.Sprint(seq), Term: 1, Op: Renew}}}
		return len(g.Step(now, view, Received{m})) > 0
	}
	first, second := member.NewView(member.Member{ID: "a", Boot: 1}), member.NewView(member.Member{ID: "a", Boot: 2})
	for _, c := range []struct {
		name string
		boot uint64
		view member.View
		want bool
	}{
		{"one that gossip has not told of yet", 1, member.View{}, true},
		{"the one that it tells of", 1, first, true},
		{"one that follows, before gossip tells of it", 2, first, true},
		{"and then", 2, second, true},
		{"the one before", 1, second, false},
		{"also where gossip has lost its member", 1, member.View{}, false},
		{"which does not end the last", 2, member.View{}, true},
		{"one that gossip tells of again", 1, first, true},
		{"instead of the other", 2, first, false},
	} {
		if got := answered(c.boot, c.view); got != c.want {
			t.Errorf("%s: answered is %t", c.name, got)
		}
	}
	// A View may show the process before once more, while gossip settles. Who has a grant keeps it.
	held := Message{Kind: Request, From: "a", Boot: 2, Revision: 1, Items: []Item{{VIP: "held", Term: 1, Op: Renew}}}
	for i, v := range []member.View{second, first, first, second} {
		now += int64(Beat)
		held.Seq = seq + 1 + uint64(i) //nolint:gosec // small
		if len(g.Step(now, v, Received{held})) == 0 {
			t.Errorf("renewal %d of who holds is not answered", i)
		}
	}
	now, held.Seq = now+int64(GrantFor), held.Seq+1
	if len(g.Step(now, first, Received{held})) > 0 {
		t.Error("it is answered when its grant has run out, too")
	}
	seq = held.Seq

	// Several that are over are remembered, and not all that ever were.
	view := member.View{}
	for boot := uint64(10); boot < 20; boot++ {
		view = view.With(member.Member{ID: "a", Boot: boot})
		g.Step(now, view)
	}
	for boot := uint64(10); boot < 20; boot++ {
		if got, want := answered(boot, view), boot == 19 || boot < 19-followedKept; got != want {
			t.Errorf("process %d: answered is %t", boot, got)
		}
	}
}

func TestTheProcessesOfManyMembersAreForgotten(t *testing.T) {
	g := grantee(t)
	for i := range 3 * maxLives {
		g.sawProcess(member.Member{ID: fmt.Sprint(i), Boot: 1})
		if len(g.lives) > maxLives {
			t.Fatalf("%d are kept", len(g.lives))
		}
	}
}
