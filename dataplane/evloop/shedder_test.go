//go:build linux

package evloop

import "testing"

// TestTheLongestIdleMakeRoom and where only descriptors run short nobody who came a moment ago:
// he is about to ask.
func TestTheLongestIdleMakeRoom(t *testing.T) {
	const now, clients = int64(100) * shedIdle, 2 * shedLeast
	links := make([]*link, clients+2)
	for i := range links[:clients] {
		k := new(link)
		// The longest idle stands last; one in two came a moment ago.
		k.down = &downstream{link: k, since: now - int64(i%2)*shedIdle - int64(i)}
		links[i] = k
	}
	links[clients] = &link{closed: true}
	links[clients+1] = &link{} // who has begun a request long ago, and is not idle
	links[clients+1].down = &downstream{link: links[clients+1], headStart: 1}
	var s shedder
	if s.due(now, true) || !s.due(now, false) {
		t.Error("room is made where there is enough, or none where memory runs short")
	}
	s.crowded = true
	for calm, young := range map[bool]bool{true: false, false: true} {
		if s.again = 0; !s.due(now, calm) {
			t.Fatal("no room is made")
		}
		picked := s.pick(links, now, calm)
		if len(picked) != shedLeast || picked[0] != links[clients-1].down {
			t.Errorf("%d are picked, the first is idle since %d", len(picked), picked[0].since)
		}
		for _, d := range picked {
			if !young && d.since > now-shedIdle {
				t.Errorf("one is picked that is idle since %d, at %d", d.since, now)
			}
		}
		if s.due(now+shedEvery-1, calm) || !s.due(now+shedEvery, calm) {
			t.Errorf("the next time is %d", s.again)
		}
	}
}

// TestWhoHasJustComeMakesNoRoom, not even where memory runs short: his request is on its way.
func TestWhoHasJustComeMakesNoRoom(t *testing.T) {
	const now = int64(100) * shedIdle
	links := make([]*link, shedLeast)
	for i := range links {
		links[i] = new(link)
		links[i].down = &downstream{link: links[i], since: now - shedFresh + 1}
	}
	var s shedder
	if picked := s.pick(links, now, false); len(picked) > 0 {
		t.Errorf("%d are picked that have just come", len(picked))
	}
	if picked := s.pick(links, now+1, false); len(picked) != len(links) {
		t.Errorf("%d of %d are picked a moment later", len(picked), len(links))
	}
}
