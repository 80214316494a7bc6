//go:build linux

package evloop

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/poll"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestWhoWaitsLongestMakesRoomForAnotherHandshake, what was given up counts until the crew is
// done with it, and its threads end when all loops have.
func TestWhoWaitsLongestMakesRoomForAnotherHandshake(t *testing.T) {
	p, err := poll.New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := idleCrew()
	c.start()
	s := newShaker(c, p)
	client := secure.NewClient(new(table.UpstreamTLS), "192.0.2.1", secure.HTTP1)
	var links [3]link
	for i := range links {
		k := &links[i]
		s.begin(k, client.Conn(), false)
		if h := s.take(); h != k.shake || !h.waiting || len(h.conn.TakeOut()) == 0 {
			t.Fatalf("handshake %d does not wait for an answer to its hello", i)
		}
	}
	if s.longest().link != &links[0] || s.underWay != len(links) || !s.room() {
		t.Errorf("%d are under way", s.underWay)
	}
	h := links[0].shake
	if s.leave(&links[0]); links[0].shake != nil || s.longest().link != &links[1] || s.underWay != len(links) {
		t.Errorf("%d are under way when one was given up", s.underWay)
	}
	if s.take() != h || h.link != nil || s.underWay != len(links)-1 {
		t.Errorf("%d are under way when the one that was given up is over", s.underWay)
	}
	h = links[1].shake
	h.conn.FeedEnd()
	s.resume(h)
	if s.take() != h || h.conn.Failed() == nil || h.link != &links[1] {
		t.Error("a handshake whose peer has gone does not end")
	}
	s.underWay += maxHandshakes + maxShedding - 1
	if s.room() || s.longest() != nil {
		t.Error("another may begin, however many were given up and are not over")
	}
	s.underWay = 1
	s.leave(&links[2])
	s.end()
	if c.end(); s.underWay != 0 || s.waiting.first != nil {
		t.Errorf("%d are under way at the end", s.underWay)
	}
}
