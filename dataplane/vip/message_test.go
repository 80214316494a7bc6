package vip

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func messages() []Message {
	long := strings.Repeat("n", MaxName)
	return []Message{
		{Kind: Request, From: "a", Boot: 1, Seq: 1},
		{Kind: Request, From: "node-1", Boot: math.MaxUint64, Seq: math.MaxUint64, Revision: math.MaxUint64, Items: []Item{
			{VIP: "x", Term: 1, Op: Ask}, {VIP: long, Term: maxTerm, Op: Resigned}, {VIP: "y", Op: AskReady},
		}},
		{Kind: Answer, From: long, Boot: 2, Seq: 3, Revision: 4, Items: []Item{
			{VIP: "x", Term: 128, Verdict: Granted, LastTerm: 128},
			{VIP: "y", Term: 300, Verdict: Taken, LastTerm: 299, Other: "b", OtherHolds: true, LeftMS: 65535},
			{VIP: "z", Term: 300, Verdict: Full},
		}},
	}
}

func TestMessagesComeBackAsTheyWere(t *testing.T) {
	for _, m := range messages() {
		b, err := m.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		b, ok := bytes.CutPrefix(b, []byte("before"))
		if !ok {
			t.Fatal("what stood before is gone")
		}
		size := m.headSize()
		for i := range m.Items {
			size += m.Items[i].size(m.Kind)
		}
		if size != len(b) {
			t.Errorf("it is %d bytes long, and not %d", len(b), size)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Error(diff)
		}
		for i := range b {
			if _, err := Decode(b[:i]); !errors.Is(err, ErrMalformed) {
				t.Errorf("the first %d of %d bytes: %v", i, len(b), err)
			}
		}
		if _, err := Decode(append(b, 0)); !errors.Is(err, ErrMalformed) {
			t.Error("a byte too many was accepted")
		}
	}
}

func TestMessagesOutOfBoundsAreNotWritten(t *testing.T) {
	item := Item{VIP: "x", Term: 1, Op: Ask}
	for name, m := range map[string]Message{
		"no kind":                {From: "a"},
		"no sender":              {Kind: Request},
		"a long sender":          {Kind: Request, From: strings.Repeat("a", MaxName+1)},
		"no name":                {Kind: Request, From: "a", Items: []Item{{Op: Ask}}},
		"no op":                  {Kind: Request, From: "a", Items: []Item{{VIP: "x"}}},
		"no verdict":             {Kind: Answer, From: "a", Items: []Item{{VIP: "x"}}},
		"an op in an answer":     {Kind: Answer, From: "a", Items: []Item{{VIP: "x", Op: Ask, Verdict: Granted}}},
		"a verdict in a request": {Kind: Request, From: "a", Items: []Item{{VIP: "x", Op: Ask, Verdict: Granted}}},
		"a term too high":        {Kind: Request, From: "a", Items: []Item{{VIP: "x", Op: Ask, Term: maxTerm + 1}}},
		"too many items":         {Kind: Request, From: "a", Items: slicesRepeat(item, MaxItems+1)},
		"too long":               {Kind: Request, From: "a", Items: slicesRepeat(Item{VIP: strings.Repeat("x", 100), Op: Ask}, 20)},
	} {
		if b, err := m.Append(nil); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}

func slicesRepeat(it Item, n int) []Item {
	items := make([]Item, n)
	for i := range items {
		items[i] = it
	}
	return items
}

func TestOpsVerdictsAndStatesHaveNames(t *testing.T) {
	var names []string
	for op := Op(0); op <= lastOp+1; op++ {
		names = append(names, op.String())
	}
	for v := Verdict(0); v <= lastVerdict+1; v++ {
		names = append(names, v.String())
	}
	for s := Idle; s <= Holding+1; s++ {
		names = append(names, s.String())
	}
	want := "unknown ask ask_ready renew gave_up yielded lost handed_over conceded resigned unknown " +
		"unknown granted taken quiet other_list old_term full unknown idle waiting asking holding unknown"
	if got := strings.Join(names, " "); got != want {
		t.Error(got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range messages() {
		b, err := m.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{wireVersion, byte(Request)})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := m.Append(nil)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x decodes to %+v, which is %x, %v", b, m, again, err)
		}
	})
}

// Whatever a peer says, in whatever order, nothing breaks: bounds are kept and
// what comes out can be sent.
func FuzzStep(f *testing.F) {
	for _, m := range messages() {
		b, _ := m.Append(nil)
		f.Add(uint64(1), b)
	}
	f.Fuzz(func(t *testing.T, seed uint64, b []byte) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		list := NewList(4, "a", "b", "node-1")
		g, err := New(Config{Self: "b", Boot: 2, List: list, Specs: []Spec{{VIP: "x", Policy: Policy(seed % 3)}, {VIP: "y"}}})
		if err != nil {
			t.Fatal(err)
		}
		now := int64(0)
		view := fleet("a b")
		for range 50 {
			now += rnd.Int64N(300 * ms)
			var events []Event
			if m, err := Decode(b); err == nil {
				for range rnd.IntN(3) {
					m.From, m.Revision = list.ID(rnd.IntN(3)), 4
					m.Seq += uint64(rnd.IntN(3))
					for i := range m.Items {
						m.Items[i].VIP = []string{"x", "y", "z"}[rnd.IntN(3)]
						if m.Kind == Request {
							m.Items[i].Op = Ask + Op(rnd.IntN(int(lastOp)))
						}
					}
					events = append(events, Received{m})
				}
			}
			for _, a := range g.Step(now, view, events...) {
				if s, ok := a.(Send); ok {
					if _, err := s.Message.Append(nil); err != nil {
						t.Fatal(err)
					}
				}
			}
			if at, ok := g.NextDeadline(); ok && at <= now {
				t.Fatalf("the next deadline is %d, and it is %d", at, now)
			}
		}
	})
}

// TestReadingAMessageCostsTheSameForHoweverManyNames: of many virtual IPs some dozens stand in
// each, and thousands of messages come in a second.
func TestReadingAMessageCostsTheSameForHoweverManyNames(t *testing.T) {
	m := Message{Kind: Answer, From: "node-1", Boot: 1, Seq: 1, Items: slicesRepeat(Item{VIP: "192.0.2.100", Verdict: Taken, Other: "node-2"}, 40)}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := Decode(b); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2 { // the strings, and the items
		t.Errorf("%v allocations", allocs)
	}
}
