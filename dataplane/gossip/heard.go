package gossip

import (
	"net/netip"
	"sync"
	"time"
)

// heardFor is for how long a member that said something is taken to be where that came from.
// A holder hears each member twenty times a second, and the kernel has a machine that is
// switched off forgotten after some seconds.
const heardFor = time.Second

// heard knows from where something of the fleet came lately.
type heard struct {
	mu sync.Mutex
	at map[netip.AddrPort]time.Time // maxKnown at most
}

func (h *heard) note(from netip.AddrPort, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.at) >= maxKnown || h.at == nil {
		h.at = map[netip.AddrPort]time.Time{} // who is there is heard again soon
	}
	h.at[from] = at
}

func (h *heard) lately(from netip.AddrPort, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	at, ok := h.at[from]
	return ok && now.Sub(at) < heardFor
}
