//go:build linux

package agent

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

// A main process that was stopped finds one word on each lease, and one report.
func TestOfWhatWasNotTakenTheLastWordCounts(t *testing.T) {
	o := newOutbox()
	for i := range 100 {
		o.lease([]*fleetv1.AgentLease{{Address: "127.0.0.1", Until: int64(i)}})
		o.lease([]*fleetv1.AgentLease{{Address: "127.0.0.2", Until: int64(2 * i)}})
		o.say(&fleetv1.AgentReport{Serial: uint64(i)})
		o.closed(uint64(i))
	}
	queue, words := o.take()
	if len(queue) != 100 || len(words) != 2 {
		t.Fatalf("%d parcels and %d words", len(queue), len(words))
	}
	until := map[string]int64{}
	for _, l := range words[0].GetLeases().GetLeases() {
		until[l.GetAddress()] = l.GetUntil()
	}
	if len(until) != 2 || until["127.0.0.1"] != 99 || until["127.0.0.2"] != 198 || words[1].GetReport().GetSerial() != 99 {
		t.Errorf("leases %v, report %d", until, words[1].GetReport().GetSerial())
	}
	if queue, words = o.take(); len(queue)+len(words) != 0 {
		t.Errorf("%d parcels and %d words more", len(queue), len(words))
	}
}

func TestMessagesThatWaitAreTakenTogetherButNotWithoutEnd(t *testing.T) {
	l := &loop{inbox: make(chan vip.Message, inboxSize)}
	for i := range uint64(maxAtOnce + 10) {
		l.inbox <- vip.Message{Seq: i}
	}
	seq := uint64(0)
	for _, want := range []int{maxAtOnce, 10, 0} {
		l.events = l.events[:0]
		l.receiveWaiting()
		if len(l.events) != want {
			t.Errorf("%d are taken, expected %d", len(l.events), want)
		}
		for _, e := range l.events {
			if m := e.(vip.Received).Message; m.Seq != seq {
				t.Fatalf("message %d instead of %d", m.Seq, seq)
			}
			seq++
		}
	}
}
