//go:build linux

package evloop

import (
	"net/netip"
	"slices"
	"testing"
)

// socketOn is a socket without a descriptor.
func socketOn(address string) *socket {
	return &socket{fd: -1, binding: &binding{address: netip.MustParseAddrPort(address)}}
}

// nobodyWaits takes connections from a socket in whose queue there are none.
func nobodyWaits(s *socket) { s.readable = false }

// TestARemovedSocketIsAskedUntilItsTime and listens nowhere meanwhile; its number is not
// given again, since an edge of it may still be on its way.
func TestARemovedSocketIsAskedUntilItsTime(t *testing.T) {
	var ss sockets
	first, second := socketOn("192.0.2.1:80"), socketOn("192.0.2.1:80")
	ss.add(first)
	ss.turn(nobodyWaits)
	if ss.take(first.binding.address, 5) != first || !first.removed || first.removedAt != 5 || len(ss.all) != 0 {
		t.Fatalf("%+v, %d are left", first, len(ss.all))
	}
	ss.keep(first, 100)
	if !first.readable || ss.closeAt != 100 || ss.listen() || ss.take(first.binding.address, 6) != nil {
		t.Errorf("%+v, closed at %d", first, ss.closeAt)
	}
	ss.add(second)
	if second.index == first.index || !ss.listen() || ss.take(second.binding.address, 7) != second {
		t.Errorf("numbers %d and %d", first.index, second.index)
	}
	ss.keep(second, 200)
	if due := ss.takeDue(func(s *socket) bool { return s.closeAt <= 100 }); len(due) != 1 || due[0] != first || ss.closeAt != 200 {
		t.Errorf("%d are due, the next at %d", len(due), ss.closeAt)
	}
	if due := ss.takeDue(func(*socket) bool { return true }); len(due) != 1 || ss.closeAt != 0 || len(ss.all) != 0 {
		t.Errorf("%d are due, the next at %d, and %d are left", len(due), ss.closeAt, len(ss.all))
	}
}

// TestASocketCoversTheAddressesThatItTakesConnectionsTo where it is not removed itself.
func TestASocketCoversTheAddressesThatItTakesConnectionsTo(t *testing.T) {
	var ss sockets
	all := socketOn("[::]:80")
	ss.add(all)
	for address, covered := range map[string]bool{"192.0.2.1:80": true, "192.0.2.1:81": false, "[::]:80": false} {
		if got := ss.cover(netip.MustParseAddrPort(address)); got != covered {
			t.Errorf("%s is covered: %t", address, got)
		}
	}
	ss.keep(ss.take(all.binding.address, 1), 2)
	if ss.cover(netip.MustParseAddrPort("192.0.2.1:80")) {
		t.Error("a removed socket covers another one")
	}
}

// TestSocketsAreAskedAgainAfterDescriptorsRanOut once, and not before the time: no edge tells
// of the clients that wait.
func TestSocketsAreAskedAgainAfterDescriptorsRanOut(t *testing.T) {
	var ss sockets
	s := socketOn("192.0.2.1:80")
	ss.add(s)
	ss.turn(nobodyWaits)
	ss.acceptAgain = 10
	if ss.askAgain(9); ss.readable() {
		t.Error("asked before the time")
	}
	if ss.askAgain(10); !ss.readable() || ss.acceptAgain != 0 {
		t.Error("not asked when it is time")
	}
	ss.turn(nobodyWaits)
	if ss.edge(s.index + 1); ss.readable() {
		t.Error("an edge of another socket has it asked")
	}
	if ss.edge(s.index); !ss.readable() {
		t.Error("an edge does not have it asked")
	}
}

// TestATurnAsksThoseSocketsAlone that have an edge, however many there are, each once, and goes
// on with those that were not emptied.
func TestATurnAsksThoseSocketsAlone(t *testing.T) {
	var ss sockets
	all := map[*socket]bool{}
	for i := range 1000 {
		s := socketOn(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(i)).String())
		ss.add(s)
		all[s] = true
	}
	ss.turn(nobodyWaits)
	busy, quiet := ss.all[7], ss.all[700]
	for range 2 {
		ss.edge(busy.index)
		ss.edge(quiet.index)
	}
	var asked []*socket
	take := func(s *socket) {
		asked = append(asked, s)
		s.readable = s == busy
	}
	if ss.turn(take); !slices.Equal(asked, []*socket{busy, quiet}) || !ss.readable() {
		t.Fatalf("%d were asked, more to come: %t", len(asked), ss.readable())
	}
	asked = nil
	if ss.turn(take); !slices.Equal(asked, []*socket{busy}) {
		t.Errorf("then %d were asked", len(asked))
	}
	for s := range all {
		if ss.at(s.binding.address) != s || ss.take(s.binding.address, 1) != s || ss.at(s.binding.address) != nil {
			t.Fatalf("%s is not found, or still", s.binding.address)
		}
	}
	if len(ss.all)+len(ss.byIndex)+len(ss.byAddress) != 0 || ss.readable() || ss.listen() {
		t.Errorf("%d are left, to be asked: %t", len(ss.all), ss.readable())
	}
}

// TestMutedSocketsAreAskedByTheClock, also once they were removed, until they hear again or are
// closed.
func TestMutedSocketsAreAskedByTheClock(t *testing.T) {
	var ss sockets
	muted, other := socketOn("192.0.2.1:80"), socketOn("192.0.2.2:80")
	ss.add(muted)
	ss.add(other)
	ss.turn(nobodyWaits)
	asked := func(at int64) bool {
		ss.askMuted(at)
		got := muted.readable
		if other.readable {
			t.Errorf("at %d the other one is asked", at)
		}
		ss.turn(nobodyWaits)
		return got
	}
	ss.mute(muted, 100)
	for at, want := range []bool{false, true, false} {
		if got := asked(100 + int64(at)*muteTime - int64(at)/2); got != want {
			t.Errorf("after %d times it is asked: %t", at, got)
		}
	}
	ss.keep(ss.take(muted.binding.address, 0), 1<<40)
	ss.turn(nobodyWaits)
	if !asked(100 + 3*muteTime) {
		t.Error("once removed it is not asked")
	}
	ss.acceptAgain = 100 + 3*muteTime + acceptPause
	if asked(100+5*muteTime) || ss.mutedUntil != ss.acceptAgain {
		t.Error("it is asked while descriptors have run out")
	}
	ss.acceptAgain = 0
	ss.unmute(muted)
	if asked(100+9*muteTime) || ss.mutedUntil != 0 {
		t.Error("it is asked though it hears again")
	}
	ss.mute(muted, 100)
	if ss.mute(other, 100+muteTime/2); ss.mutedUntil != 100+muteTime {
		t.Error("another one that is muted puts off when it is asked")
	}
	ss.unmute(other)
	ss.takeDue(func(*socket) bool { return true }) // it is closed
	if asked(100+20*muteTime) || ss.mutedUntil != 0 {
		t.Error("it is asked though it was closed")
	}
}
