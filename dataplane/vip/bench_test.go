package vip

import "testing"

// What a beat costs: a member reads a renewal, renews its grant and writes the
// answer; the holder reads that.
func BenchmarkBeat(b *testing.B) {
	list := NewList(1, "a", "b", "c")
	specs := []Spec{{VIP: "x", Preference: []string{"a"}}}
	view := fleet("a b c")
	holder, err := New(Config{Self: "a", Boot: 1, List: list, Specs: specs})
	if err != nil {
		b.Fatal(err)
	}
	member, err := New(Config{Self: "b", Boot: 2, List: list, Specs: specs})
	if err != nil {
		b.Fatal(err)
	}
	now := int64(GrantFor)
	var buf []byte
	relay := func(actions []Action, to *Grants) []Action {
		var answers []Action
		for _, a := range actions {
			if s, ok := a.(Send); ok {
				buf, _ = s.Message.Append(buf[:0])
				m, err := Decode(buf)
				if err != nil {
					b.Fatal(err)
				}
				answers = to.Step(now, view, Received{m})
			}
		}
		return answers
	}
	holder.Step(0, view)
	member.Step(0, view)
	b.ReportAllocs()
	for b.Loop() {
		answers := relay(holder.Step(now, view), member)
		relay(answers, holder)
		now += int64(Beat)
	}
	if s := holder.Status(); s[0].State != Holding {
		b.Fatalf("%+v", s)
	}
}
