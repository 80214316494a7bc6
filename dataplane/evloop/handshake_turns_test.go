//go:build linux

package evloop

import (
	"net/netip"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestHandshakesAreOfClients, by whom they take turns and have their share.
func TestHandshakesAreOfClients(t *testing.T) {
	c := idleCrew()
	s := newShaker(c, nil)
	client := func(k *link) uint64 {
		s.begin(k, nil, false)
		return c.fresh.take().client
	}
	from := func(address string) *link {
		k := &link{}
		k.down = &downstream{link: k, peer: netip.MustParseAddrPort(address), socket: &socket{listener: &table.Listener{}}}
		return k
	}
	one := client(from("192.0.2.1:1000"))
	if one == 0 || client(from("192.0.2.1:2000")) != one || client(from("192.0.2.2:1000")) == one {
		t.Errorf("%x, %x, %x", one, client(from("192.0.2.1:2000")), client(from("192.0.2.2:1000")))
	}
	endpoint := &link{up: &upstreamConn{}}
	if own := client(endpoint); own != 0 {
		t.Errorf("one with an endpoint is for %x", own)
	}

	k := from("192.0.2.1:1000")
	for s.underWay < maxHandshakes-1 && s.fair(k) {
		client(k)
	}
	if s.clients[one] != maxHandshakesEach || !s.fair(from("192.0.2.9:1")) || !s.fair(endpoint) {
		t.Errorf("of %d handshakes under way %d are one client's", s.underWay, s.clients[one])
	}

	other, own := &handshake{client: one + 1}, &handshake{client: one}
	if s.waiting.add(other); s.longestOf(one) != nil {
		t.Error("another's makes room for one of this client")
	}
	if s.waiting.add(own); s.longestOf(one) != own {
		t.Error("none of its own makes room for one of this client")
	}
	if s.clients[one] += maxShedding / 2; s.longestOf(one) != nil {
		t.Error("however many were given up and are not over")
	}
}

func TestClientsTakeTurnsWithTheirHandshakes(t *testing.T) {
	var turns shakeTurns
	come := func(client rune, number int) {
		for range number {
			turns.add(&handshake{client: uint64(client)}) //nolint:gosec // a letter
		}
	}
	take := func(number int) (order string) {
		for range number {
			order += string(rune(turns.take().client)) //nolint:gosec // a letter
		}
		return order
	}
	come('a', 100)
	come('b', 3)
	if got := take(3); got != "aba" {
		t.Errorf("%s", got)
	}
	come('c', 1)
	if got := take(5); got != "bacba" && got != "bcaba" {
		t.Errorf("then %s", got)
	}
	first, second := &handshake{client: 'b'}, &handshake{client: 'b'}
	turns.add(first)
	turns.add(second)
	for _, want := range []*handshake{first, second} {
		for h := turns.take(); h != want; h = turns.take() {
			if h.client != 'a' {
				t.Fatal("one client's come out of order")
			}
		}
	}
	for turns.next != nil {
		turns.take()
	}
	if len(turns.lines) != 0 || turns.take() != nil {
		t.Errorf("%d lines are left", len(turns.lines))
	}
}
