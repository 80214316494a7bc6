package evloop

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// Config is what an engine needs. Fields without a default must be set.
type Config struct {
	// Loops is how many event loops run. Default 1.
	Loops int
	// NodeAddress is where listeners with the address NODE listen. Default "::",
	// which takes IPv4 too.
	NodeAddress netip.Addr
	// DrainTimeout is how long Run lets exchanges end after it was told to stop.
	// Default 30 s.
	DrainTimeout time.Duration
	// SingleCalls has each read and write made by a system call of its own, also where the
	// system would let many be made by one (see package ring).
	SingleCalls bool
	// MaxClients is how many client connections the node takes; more get 503 at
	// once. Default, and at most: as many as the descriptors of the process allow.
	MaxClients int
	// Inherit are listening sockets of the process before this one, by address. The
	// engine owns them: tables whose listeners have these addresses get them
	// instead of sockets of their own. nil: there are none.
	Inherit map[netip.AddrPort][]int
	// MayHold says whether the node may come to hold a virtual IP: descriptors are left to
	// its sockets. nil: none.
	MayHold func(*table.VirtualIP) bool
	// Permit is held by handshakes while they compute. Default: one, of this engine
	// alone.
	Permit permit.Semaphore
	// Stats counts; it has as many loops as the engine.
	Stats *stats.Set
	// NewSink makes the sink of one loop.
	NewSink func(loop int) Sink
	Logger  *slog.Logger
}

// Sink takes the record of each finished exchange, on the loop's thread. It must
// not block, and keeps nothing of the record's slices.
type Sink interface {
	Finish(r *exchange.Record)
	// Flush is called about every second, and before the loop ends.
	Flush()
}
