package vip

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

func TestANodeNeedsAnIDAndABoot(t *testing.T) {
	for _, c := range []Config{{Boot: 1}, {Self: "a"}, {Self: strings.Repeat("a", MaxName+1), Boot: 1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

// grantee is a member that has been running for a while.
func grantee(t *testing.T) *Grants {
	t.Helper()
	g, err := New(Config{Self: "b", Boot: 2, List: NewList(1, "a", "b", "c")})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// say has a member answer one request.
func say(t *testing.T, g *Grants, now int64, m Message) (Item, bool) {
	t.Helper()
	m.Kind = Request
	if m.Revision == 0 {
		m.Revision = 1
	}
	for _, a := range g.Step(now, member.View{}, Received{m}) {
		if s, ok := a.(Send); ok && s.Message.Kind == Answer {
			if len(s.To) != 1 || s.To[0] != m.From || s.Message.Seq != m.Seq || s.Message.Boot != m.Boot || len(s.Message.Items) != 1 {
				t.Fatalf("the answer to %+v is %+v", m, s)
			}
			return s.Message.Items[0], true
		}
	}
	return Item{}, false
}

// A member's side, request by request.
func TestAMemberGrantsToOneProcessAtATime(t *testing.T) {
	type request struct {
		at        int64 // ms
		from      string
		boot, seq uint64
		term      uint64
		op        Op
		want      string // empty: no answer
	}
	cases := []struct {
		name     string
		requests []request
	}{
		{"nothing is granted for a grant's length after the start", []request{
			{0, "a", 1, 1, 1, Ask, "quiet 250"},
			{249, "a", 1, 2, 1, Ask, "quiet 1"},
			{250, "a", 1, 3, 1, Ask, "granted"},
		}},
		{"to one at a time, until the grant runs out", []request{
			{300, "a", 1, 1, 1, Ask, "granted"},
			{400, "c", 3, 1, 2, Ask, "taken by a 150"},
			{549, "c", 3, 2, 2, Ask, "taken by a 1"},
			{550, "c", 3, 3, 2, Ask, "granted"},
			{551, "a", 1, 2, 1, Renew, "taken by c 249"},
		}},
		{"a renewal prolongs, and says that its sender holds", []request{
			{300, "a", 1, 1, 1, Ask, "granted"},
			{400, "a", 1, 2, 1, Renew, "granted"},
			{600, "c", 3, 1, 2, Ask, "taken by a 50, who holds"},
		}},
		{"what is late or repeated is passed over", []request{
			{300, "a", 1, 5, 1, Ask, "granted"},
			{400, "a", 1, 5, 1, Ask, ""},
			{400, "a", 1, 4, 1, Ask, ""},
			{560, "c", 3, 1, 2, Ask, "granted"},
		}},
		{"a release frees", []request{
			{300, "a", 1, 1, 1, Ask, "granted"},
			{310, "a", 1, 2, 1, GaveUp, ""},
			{320, "c", 3, 1, 2, Ask, "granted"},
		}},
		{"but a late one does not: the holder has asked again", []request{
			{300, "a", 1, 1, 1, Ask, "granted"},
			{310, "a", 1, 3, 2, Ask, "granted"},
			{311, "a", 1, 2, 1, GaveUp, ""},
			{320, "c", 3, 1, 3, Ask, "taken by a 240"},
		}},
		{"nor one of another process of that node", []request{
			{300, "a", 1, 1, 1, Renew, "granted"},
			{310, "a", 9, 1, 1, Resigned, ""},
			{320, "c", 3, 1, 3, Ask, "taken by a 230, who holds"},
		}},
		{"also where what another process of that node said has come between", []request{
			{300, "a", 1, 1, 1, Ask, "granted"},
			{310, "a", 1, 2, 1, GaveUp, ""},
			{320, "a", 1, 3, 2, Ask, "granted"},
			{330, "a", 9, 7, 1, Ask, "taken by a 240"},
			{340, "a", 1, 1, 1, Ask, ""},
			{350, "a", 1, 2, 1, GaveUp, ""},
			{360, "a", 9, 7, 1, Ask, ""},
			{370, "c", 3, 1, 3, Ask, "taken by a 200"},
			{380, "a", 1, 4, 2, Renew, "granted"},
		}},
		{"another process of the same node waits like anybody", []request{
			{300, "a", 1, 1, 1, Renew, "granted"},
			{310, "a", 9, 1, 2, Ask, "taken by a 240, who holds"},
			{550, "a", 9, 2, 2, Ask, "granted"},
		}},
		{"a tenure has a higher term than the one before", []request{
			{300, "a", 1, 1, 7, Ask, "granted"},
			{310, "a", 1, 2, 7, GaveUp, ""},
			{320, "c", 3, 1, 7, Ask, "old_term 7"},
			{330, "c", 3, 2, 8, Ask, "granted"},
		}},
		{"but who holds keeps its term", []request{
			{300, "a", 1, 1, 7, Ask, "granted"},
			{310, "a", 1, 2, 7, GaveUp, ""},
			{320, "c", 3, 1, 3, Renew, "granted"},
			{330, "c", 3, 2, 3, Resigned, ""}, // which makes no lower one new
			{340, "a", 9, 1, 7, Ask, "old_term 7"},
		}},
		{"two that say to hold hear of each other", []request{
			{300, "a", 1, 1, 1, Renew, "granted"},
			{310, "c", 3, 1, 1, Renew, "taken by a 240, who holds"},
			{350, "a", 1, 2, 1, Renew, "granted, but c holds"},
		}},
		{"those who are not expected are not answered", []request{
			{300, "z", 1, 1, 1, Ask, ""},
			{300, "b", 1, 1, 1, Ask, ""},
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := grantee(t)
			for _, r := range c.requests {
				it, ok := say(t, g, r.at*ms, Message{
					From: r.from, Boot: r.boot, Seq: r.seq, Items: []Item{{VIP: "x", Term: r.term, Op: r.op}},
				})
				got := ""
				if ok {
					got = it.Verdict.String()
					switch {
					case it.Verdict == Granted && it.Other != "":
						got += ", but " + it.Other + " holds"
					case it.Other != "":
						got += " by " + it.Other
					case it.Verdict == OldTerm:
						got += fmt.Sprint(" ", it.LastTerm)
					}
					if it.LeftMS > 0 {
						got += fmt.Sprint(" ", it.LeftMS)
					}
					if it.Verdict == Taken && it.OtherHolds {
						got += ", who holds"
					}
				}
				if got != r.want {
					t.Errorf("at %d, %s/%d %s: %q, want %q", r.at, r.from, r.seq, r.op, got, r.want)
				}
			}
		})
	}
}

// TestWhoHoldsWithoutAGrantGivesNone: under Availability a node may hold on when its own grant has run
// out, and would vote for another holder beside itself.
func TestWhoHoldsWithoutAGrantGivesNone(t *testing.T) {
	for state, want := range map[State]Verdict{Holding: Taken, Idle: Granted} {
		g := grantee(t)
		g.now = 300 * ms
		o := g.office("x")
		o.state = state
		if got := g.decide(o, process{who: 0, boot: 1}, "a", 1, false); got != want {
			t.Errorf("a member that is %s says %s, want %s", state, got, want)
		}
	}
}

func TestListsOfDifferentRevisionsDoNotMix(t *testing.T) {
	g := grantee(t)
	it, ok := say(t, g, 300*ms, Message{From: "a", Boot: 1, Seq: 1, Revision: 2, Items: []Item{{VIP: "x", Term: 1, Op: Ask}}})
	if !ok || it.Verdict != OtherList {
		t.Errorf("a request by another list: %+v, %v", it, ok)
	}
	// An answer by another list does not count either.
	h, err := New(Config{Self: "a", Boot: 1, List: NewList(1, "a", "b", "c"), Specs: []Spec{{VIP: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	h.Step(0, fleet("a"))
	var asked *Message
	for _, a := range h.Step(300*ms, fleet("a")) {
		if s, ok := a.(Send); ok {
			asked = &s.Message
		}
	}
	for _, revision := range []uint64{2, 1} {
		answer := Message{Kind: Answer, From: "b", Boot: 1, Seq: asked.Seq, Revision: revision, Items: []Item{{VIP: "x", Term: asked.Items[0].Term, Verdict: Granted}}}
		claimed := false
		for _, a := range h.Step(301*ms, fleet("a"), Received{answer}) {
			_, claim := a.(Claim)
			claimed = claimed || claim
		}
		if claimed != (revision == 1) {
			t.Errorf("an answer of revision %d: claimed is %v", revision, claimed)
		}
	}
}

// A member that is none of us may say of a holder that it holds for a minute more.
func TestWhatAMemberSaysOfAHolderCountsNoLongerThanAGrantLasts(t *testing.T) {
	g, err := New(Config{Self: "a", Boot: 1, List: NewList(1, "a", "b", "c"), Specs: []Spec{{VIP: "x", Preference: []string{"a"}}}})
	if err != nil {
		t.Fatal(err)
	}
	asks := func(now int64, events ...Event) (asked *Message) {
		for _, a := range g.Step(now, fleet("a b c"), events...) {
			if s, ok := a.(Send); ok && s.Message.Items[0].Op == Ask {
				asked = &s.Message
			}
		}
		return asked
	}
	g.Step(0, fleet("a b c"))
	asked := asks(300 * ms)
	if asked == nil {
		t.Fatal("it does not ask")
	}
	asks(301*ms, Received{Message{Kind: Answer, From: "b", Boot: 1, Seq: asked.Seq, Revision: 1, Items: []Item{
		{VIP: "x", Term: asked.Items[0].Term, Verdict: Taken, LastTerm: 9, Other: "c", OtherHolds: true, LeftMS: 65535},
	}}})
	for now := 302 * ms; ; now += ms {
		if asks(now) != nil {
			t.Logf("it asks again after %d ms", now/ms-301)
			return
		}
		if now > 2000*ms {
			t.Fatal("it does not ask again")
		}
	}
}

func TestAMemberKeepsABoundedNumberOfVIPsAndForgets(t *testing.T) {
	g := grantee(t)
	seq := uint64(0)
	ask := func(at int64, vip string) Verdict {
		seq++
		it, _ := say(t, g, at, Message{From: "a", Boot: 1, Seq: seq, Items: []Item{{VIP: vip, Term: 1, Op: Ask}}})
		return it.Verdict
	}
	for i := range MaxVIPs {
		if v := ask(300*ms, fmt.Sprint("vip-", i)); v != Granted {
			t.Fatalf("vip %d: %v", i, v)
		}
	}
	if v := ask(300*ms, "one more"); v != Full {
		t.Errorf("one more: %v", v)
	}
	g.Step(5000*ms, member.View{})
	if v := ask(5000*ms, "one more"); v != Granted || len(g.offices) != 1 {
		t.Errorf("later: %v, and %d are kept", v, len(g.offices))
	}
}

// What a configuration before named, and what others name, stays known for a while. It
// must not take the place of what is configured now, which is said once.
func TestVirtualIPsThatWentLeaveRoomForThoseThatCame(t *testing.T) {
	specs := func(name string) (all []Spec) {
		for i := range MaxVIPs {
			all = append(all, Spec{VIP: fmt.Sprint(name, i)})
		}
		return all
	}
	g, err := New(Config{Self: "a", Boot: 1, List: NewList(1, "a"), Specs: specs("before-")})
	if err != nil {
		t.Fatal(err)
	}
	step := func(now int64, events ...Event) {
		for range 3 { // waits, asks, holds
			g.Step(now, fleet("a"), events...)
			events = nil
		}
	}
	held := func(name string) (n int) {
		for i := range MaxVIPs {
			if _, holds := g.Until(fmt.Sprint(name, i)); holds {
				n++
			}
		}
		return n
	}
	step(300 * ms)
	if n := held("before-"); n != MaxVIPs {
		t.Fatalf("%d are held", n)
	}
	step(400*ms, Configured{specs("after-")})
	step(500 * ms)
	if n := held("after-"); n != MaxVIPs {
		t.Errorf("%d of the new ones are held", n)
	}
	step(600*ms, Configured{specs("last-")}, Configured{specs("before-")})
	step(800 * ms)
	if n := held("before-"); n != MaxVIPs {
		t.Errorf("%d are held, of those that came back", n)
	}
	g.Step(10000*ms, fleet("a"))
	if len(g.offices) != MaxVIPs || g.strange != 0 {
		t.Errorf("%d are known in the end, %d of them not configured", len(g.offices), g.strange)
	}
}

func TestOneNodeAloneHoldsByItself(t *testing.T) {
	w := newWorld(1, calm, defaultTiming(), 1, Spec{VIP: "x"})
	w.bootAll()
	w.run(5000 * ms)
	if w.holder("x") != 0 || len(w.claims) != 1 || len(w.faults) > 0 {
		t.Errorf("claims %v, faults %v", w.claims, w.faults)
	}
}

func TestTimeThatGoesBackwardsChangesNothing(t *testing.T) {
	g := grantee(t)
	it, _ := say(t, g, 300*ms, Message{From: "a", Boot: 1, Seq: 1, Items: []Item{{VIP: "x", Term: 1, Op: Ask}}})
	if it.Verdict != Granted {
		t.Fatal(it)
	}
	it, _ = say(t, g, 100*ms, Message{From: "c", Boot: 1, Seq: 1, Items: []Item{{VIP: "x", Term: 2, Op: Ask}}})
	if it.Verdict != Taken || it.LeftMS != 250 {
		t.Errorf("%+v", it)
	}
}

// The same inputs give the same outputs: nothing else is looked at.
func TestStepFollowsFromItsInputs(t *testing.T) {
	run := func() string {
		w := newWorld(7, harsh, defaultTiming(), 5, Spec{VIP: "x"}, Spec{VIP: "y"})
		w.trace, w.msgs = &strings.Builder{}, true
		w.bootAll()
		w.run(2000 * ms)
		return w.trace.String()
	}
	if a, b := run(), run(); a != b || len(a) < 1000 {
		t.Error("two runs differ")
	}
}

// TestAnAnswerThatIsTooLongForADatagramGoesInSeveral: each says who has the grant, which
// no request does.
func TestAnAnswerThatIsTooLongForADatagramGoesInSeveral(t *testing.T) {
	long := strings.Repeat("c", MaxName)
	g, err := New(Config{Self: "b", Boot: 2, List: NewList(1, "a", "b", long)})
	if err != nil {
		t.Fatal(err)
	}
	var asks Message
	for i := range 20 {
		asks.Items = append(asks.Items, Item{VIP: fmt.Sprintf("vip-%02d", i), Term: 1, Op: Ask})
	}
	asks.Kind, asks.Boot, asks.Seq, asks.Revision = Request, 7, 1, 1
	answered := func(from string) (answers []Message) {
		asks.From = from
		for _, a := range g.Step(1000*ms, member.View{}, Received{asks}) {
			if s, ok := a.(Send); ok && s.Message.Kind == Answer {
				if len(s.To) != 1 || s.To[0] != from || s.Message.Seq != 1 || s.Message.Boot != 7 || s.Message.From != "b" {
					t.Errorf("an answer to %s is %+v", from, s)
				}
				answers = append(answers, s.Message)
			}
		}
		return answers
	}
	if got := answered(long); len(got) != 1 || len(got[0].Items) != len(asks.Items) {
		t.Fatalf("%d answers", len(got))
	}
	var said []string
	answers := answered("a")
	for _, m := range answers {
		if b, err := m.Append(nil); err != nil || len(b) > MaxMessage {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		for _, it := range m.Items {
			if it.Verdict != Taken || it.Other != long {
				t.Errorf("%+v", it)
			}
			said = append(said, it.VIP)
		}
	}
	if len(answers) < 2 || len(said) != len(asks.Items) {
		t.Errorf("%d answers say something of %v", len(answers), said)
	}
	for i, it := range asks.Items {
		if i >= len(said) || said[i] != it.VIP {
			t.Errorf("%s is not among %v", it.VIP, said)
		}
	}
}

func TestAListHasABound(t *testing.T) {
	ids := make([]string, MaxMembers+5)
	for i := range ids {
		ids[i] = fmt.Sprintf("n%05d", i)
	}
	l := NewList(1, append(ids, ids[0])...)
	if _, last := l.Index(ids[MaxMembers-1]); l.Len() != MaxMembers || !last {
		t.Errorf("%d members, the last is among them: %t", l.Len(), last)
	}
	for members, needed := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3} {
		l := NewList(1, ids[:members]...)
		if l.Majority(needed-1) || !l.Majority(needed) {
			t.Errorf("of %d not %d are a majority", members, needed)
		}
	}
}
