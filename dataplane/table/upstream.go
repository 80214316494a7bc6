package table

import (
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
)

// Algorithm chooses among an upstream's endpoints.
type Algorithm uint8

// The algorithms.
const (
	AlgorithmRoundRobin Algorithm = iota
	AlgorithmLeastRequest
)

// Upstream is a set of endpoints that give the same answers.
type Upstream struct {
	Name      string
	Endpoints []Endpoint
	Algorithm Algorithm
	// RoundRobin or LeastRequest is ready, as Algorithm says; an index that it
	// picks is one of Endpoints.
	RoundRobin     balance.RoundRobin
	LeastRequest   balance.LeastRequest
	ConnectTimeout time.Duration
	Pool           Pool
	Socket         UpstreamSocket
	TLS            *UpstreamTLS // nil: none
	ProxyProtocol  ProxyHeader
	Ping           Ping // of connections that speak HTTP/2
	HTTP2          bool // endpoints speak HTTP/2, with prior knowledge where there is no TLS

	// Slot is written once by upstream.Registry.Bind before a table with this
	// object is published. Compile leaves it 0. Series is the slot in the node's
	// metrics, written at the same time.
	Slot   uint32
	Series uint32
}

// ProxyHeader is the header of the PROXY protocol that connections to an upstream
// begin with. A connection with one belongs to one client.
type ProxyHeader uint8

// The headers.
const (
	ProxyHeaderNone ProxyHeader = iota
	ProxyHeaderV1
	ProxyHeaderV2
)

// Endpoint is one server.
type Endpoint struct {
	Address  string // as written: the identity, and what logs show
	AddrPort netip.AddrPort
	Unix     string // the path of a UNIX socket; then AddrPort is not set
	Weight   uint32 // 0: no new requests

	// Slot and Series are written once, like those of Upstream.
	Slot   uint32
	Series uint32
}

// Pool bounds the connections to one endpoint.
type Pool struct {
	MaxConnections int           // open, of one node
	MaxIdle        int           // idle, of one loop; 0: none is kept
	MinIdle        int           // idle, of one loop, before anybody asks
	IdleTimeout    time.Duration // an idle connection is closed after this
	MaxRequests    int           // per connection; 0: no limit
	// MaxLifetime is about when a connection is not used any more, a tenth earlier
	// or later; 0: never.
	MaxLifetime time.Duration
}

// UpstreamSocket is what the sockets of connections to an upstream have.
type UpstreamSocket struct {
	KeepAlive KeepAlive
	// UserTimeout is TCP_USER_TIMEOUT; 0 leaves the kernel's.
	UserTimeout time.Duration
}
