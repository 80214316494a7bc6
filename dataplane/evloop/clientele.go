//go:build linux

package evloop

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
)

// clientele counts the open connections of one listener, on all its addresses and all
// loops; and those of each client, while the listener has a limit for them. An entry
// lives as long as a connection of its client, so there are never more than the node
// has connections. Beside that it has the faults of clients.
type clientele struct {
	open   atomic.Int64 // connections
	faults faults
	shards [clienteleShards]clienteleShard
}

const (
	// clienteleShards keeps loops that accept at the same time apart.
	clienteleShards = 16
	// roomyClientele is how many clients a shard has had when its memory is given
	// back as soon as it has none: maps grow, but do not shrink.
	roomyClientele = 1024
)

// clienteleShard has a part of the clients.
type clienteleShard struct {
	mu   sync.Mutex
	open map[uint64]uint32 // guarded by mu
	most int               // guarded by mu; clients at a time, since the map was made
	_    [64]byte          // another shard's mutex is on another cache line
}

// clientKey is who counts as one client: an IPv4 address, or the /64 that an IPv6
// address is in, since a host has one of its own at least (RFC 6177 section 2). IPv4
// stands where ::ffff:0:0/96 would be if it was a /64; that is in a block that the
// IETF keeps to itself (RFC 4291 section 2.4).
func clientKey(a netip.Addr) uint64 {
	if a = a.Unmap(); a.Is4() {
		four := a.As4()
		return 0xffff<<32 | uint64(binary.BigEndian.Uint32(four[:]))
	}
	sixteen := a.As16()
	return binary.BigEndian.Uint64(sixteen[:])
}

func (c *clientele) shard(key uint64) *clienteleShard {
	const golden = 0x9e3779b97f4a7c15
	return &c.shards[key*golden>>60%clienteleShards]
}

// enter counts a connection of a client. False: it has most already, and nothing
// was counted.
func (c *clientele) enter(a netip.Addr, most int) bool {
	key := clientKey(a)
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.open[key]
	if int64(n) >= int64(most) {
		return false
	}
	if s.open == nil {
		s.open = make(map[uint64]uint32)
	}
	s.open[key] = n + 1
	s.most = max(s.most, len(s.open))
	return true
}

// leave counts the end of a connection that entered.
func (c *clientele) leave(a netip.Addr) {
	key := clientKey(a)
	s := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.open[key]; n > 1 {
		s.open[key] = n - 1
		return
	}
	delete(s.open, key)
	if len(s.open) == 0 && s.most >= roomyClientele {
		s.open, s.most = nil, 0
	}
}

// clients is how many have connections.
func (c *clientele) clients() (n int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		n += len(s.open)
		s.mu.Unlock()
	}
	return n
}
