package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// ErrNoKey is why gossip does not leave loopback.
var ErrNoKey = errors.New("gossip: an address that is not on loopback needs a key (or insecure)")

// Config says who a node is and whom it knows. NodeID and Address are required.
type Config struct {
	// NodeID is unique in the fleet. A second node of that name is refused by the
	// others while the first is there.
	NodeID string
	// Boot is random and another at each start; 0: made up.
	Boot uint64
	// Address is "ip:port" to listen on, UDP and TCP. No ip: all addresses. Port
	// 0: any.
	Address string
	// Advertise is the ip by which others reach the node. Empty: that of Address,
	// or, if that is all addresses, the one that leads to the first of Join.
	Advertise string
	// Join are "host:port" of members to begin with. Not all of them have to be
	// there, and none for the node to start.
	Join []string
	// Keys seal what is said. None: plaintext.
	Keys Keys
	// Insecure allows plaintext beyond loopback.
	Insecure bool
	// Fleet is the fleet's name; empty: "default".
	Fleet string
	// Labels are the node's; encoded, at most maxLabels bytes.
	Labels map[string]string
	// Self is what the node says of itself at first.
	Self Self
	// Receive gets each message from another member. It runs on gossip's own
	// goroutine, one call at a time, and must not block. nil: none are wanted.
	Receive func(message []byte)
	Timing  Timing
	Logger  *slog.Logger // nil: slog.Default()

	// For tests: cut says which addresses cannot be reached, deadGossip how long
	// the dead are gossiped to, if not as long as memberlist does by default, here which
	// addresses this machine has.
	cut        func(address string) bool
	deadGossip time.Duration
	here       func() ([]net.Addr, error)
}

// Self is what a node says of itself, and may change.
type Self struct {
	Flags        member.Flags
	ListRevision uint64
	// Holdings that do not fit into the meta data are left out, and the others
	// see HoldingsCut.
	Holdings []member.Holding
}

// Timing are the intervals that gossip goes by; zeros stand for the defaults.
//
// The defaults notice a dead member after 2 to 4 s in a fleet of three, against
// 5 to 7 s of memberlist's own for a LAN. Nothing that is urgent waits for it:
// package vip sees by its own messages that a holder is gone.
type Timing struct {
	// Probe is between two probes of other members, one at a time; ProbeTimeout
	// how long one has for its answer before others are asked to try. Defaults
	// 500 ms and 200 ms.
	Probe, ProbeTimeout time.Duration
	// Gossip is between two rounds of passing on news. Default 100 ms.
	Gossip time.Duration
	// PushPull is between two exchanges of all that is known with one other
	// member. Default 15 s.
	PushPull time.Duration
	// Rejoin is between two attempts to find members that are not there. Default
	// 10 s, the first ones sooner.
	Rejoin time.Duration
	// Reclaim is how long a name stays with its address after its node died.
	// Default 2 s.
	Reclaim time.Duration
	// Leave bounds how long saying goodbye may take, which is two rounds of Gossip in
	// fleets of up to nine. Default 250 ms: the next process of this node waits for it.
	Leave time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Probe, 500 * time.Millisecond},
		{&t.ProbeTimeout, 200 * time.Millisecond},
		{&t.Gossip, 100 * time.Millisecond},
		{&t.PushPull, 15 * time.Second},
		{&t.Rejoin, 10 * time.Second},
		{&t.Reclaim, 2 * time.Second},
		{&t.Leave, 250 * time.Millisecond},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return t
}

// tcpTimeout bounds an exchange over a stream. Streams carry what all know, some
// kilobytes, between machines that are milliseconds apart.
const tcpTimeout = 2 * time.Second

// memberlistConfig is what memberlist is told.
func (g *Gossip) memberlistConfig(t *transport) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.c.NodeID
	c.Label = label(g.c.Fleet)
	c.Transport = t
	c.BindAddr, c.BindPort = t.ip.String(), t.port
	c.AdvertiseAddr, c.AdvertisePort = t.ip.String(), t.port
	c.DeadNodeReclaimTime = g.c.Timing.Reclaim
	c.EnableCompression = false // packets are small, and it costs 100 KiB and time each
	c.Keyring = g.c.Keys.ring()
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true

	c.TCPTimeout = tcpTimeout
	// A member that datagrams do not reach has no use for us, and we none for it.
	c.DisableTcpPings = true
	c.ProbeInterval, c.ProbeTimeout = g.c.Timing.Probe, g.c.Timing.ProbeTimeout
	// Suspicion lasts SuspicionMult × max(1, log10 n) probes at least, and twice
	// that if nobody confirms it.
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 3, 2
	c.AwarenessMaxMultiplier = 4 // a slow node probes 4 times as slowly at most
	c.GossipInterval = g.c.Timing.Gossip
	c.PushPullInterval = g.c.Timing.PushPull
	if g.c.deadGossip > 0 {
		c.GossipToTheDeadTime = g.c.deadGossip
	}

	c.Delegate, c.Events, c.Conflict = delegate{g}, delegate{g}, delegate{g}
	c.LogOutput = newLogWriter(g.log, g.c.NodeID)
	return c
}

func label(fleet string) string {
	if fleet == "" {
		fleet = "default"
	}
	return "proxyfleet/" + fleet
}

// parseAddress reads Config.Address.
func parseAddress(address string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("gossip: address %q: expected ip:port", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("gossip: address %q: port %q: expected 0 to 65535", address, port)
	}
	ip := netip.IPv4Unspecified()
	if host != "" {
		if ip, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("gossip: address %q: %q is no ip", address, host)
		}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), nil
}

// checkPeer refuses an element of Config.Join that leads to nobody whatever happens: it
// would be tried for as long as the node runs.
func (g *Gossip) checkPeer(peer string) error {
	host, port, err := net.SplitHostPort(peer)
	n, notPort := strconv.ParseUint(port, 10, 16)
	if err != nil || notPort != nil || n == 0 || host == "" {
		return fmt.Errorf("gossip: join %q: expected host:port, such as 10.0.0.11:7946, with a port from 1 to 65535", peer)
	}
	if ip, err := netip.ParseAddr(host); err == nil && !g.reaches(ip) {
		return fmt.Errorf("gossip: join %q: this node gossips at %s, which is of the other family of addresses; with [::]:PORT it gossips by both", peer, g.address)
	}
	return nil
}
