package vip

import (
	"fmt"
	"testing"
)

// What a beat costs: a member reads a renewal, renews its grant and writes the
// answer; the holder reads that.
func BenchmarkBeat(b *testing.B) { benchmarkBeat(b, 1) }

// The same of as many virtual IPs as there can be, all of one holder.
func BenchmarkBeatOfAll(b *testing.B) { benchmarkBeat(b, MaxVIPs) }

func benchmarkBeat(b *testing.B, number int) {
	list := NewList(1, "a", "b", "c")
	var specs []Spec
	for i := range number {
		specs = append(specs, Spec{VIP: fmt.Sprintf("192.0.%d.%d", i/256, i%256), Preference: []string{"a"}})
	}
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
	// relay passes on what is sent, one datagram after another.
	relay := func(actions []Action, to *Grants) (answers []Action) {
		for _, a := range actions {
			if s, ok := a.(Send); ok {
				buf, _ = s.Message.Append(buf[:0])
				m, err := Decode(buf)
				if err != nil {
					b.Fatal(err)
				}
				answers = append(answers, to.Step(now, view, Received{m})...)
				to.NextDeadline()
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
	for _, s := range holder.Status() {
		if s.State != Holding {
			b.Fatalf("%+v", s)
		}
	}
}
