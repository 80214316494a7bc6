package table

import (
	"net/netip"
	"sort"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// Live points to the table in force. Load is what a loop calls once per
// exchange; Store swaps the whole configuration at once.
type Live struct{ atomic.Pointer[Table] }

// Version names a configuration: revisions count within an epoch.
type Version struct{ Epoch, Revision uint64 }

// Configuration is what a table is compiled from.
type Configuration struct {
	Version Version
	Tree    tree.Tree
}

// Table is a whole configuration, compiled.
type Table struct {
	Version Version
	// Root is the digest of the resources that the table was really built from.
	Root      tree.Hash
	Listeners []Listener  // sorted by name
	Upstreams []*Upstream // sorted by name
	// VirtualIPs are sorted by name.
	VirtualIPs []VirtualIP
	Routes     int // how many routes there are
	// HasRoute tells whether a route of that name is in the table.
	HasRoute func(name string) bool
}

// Listener returns the listener with the given name, or nil.
func (t *Table) Listener(name string) *Listener {
	i := sort.Search(len(t.Listeners), func(i int) bool { return t.Listeners[i].Name >= name })
	if i < len(t.Listeners) && t.Listeners[i].Name == name {
		return &t.Listeners[i]
	}
	return nil
}

// Upstream returns the upstream with the given name, or nil.
func (t *Table) Upstream(name string) *Upstream {
	i := sort.Search(len(t.Upstreams), func(i int) bool { return t.Upstreams[i].Name >= name })
	if i < len(t.Upstreams) && t.Upstreams[i].Name == name {
		return t.Upstreams[i]
	}
	return nil
}

// Listener is a port with the limits of its clients and the routes that live on
// it. Match and Explain find a request's route.
type Listener struct {
	Name      string
	Port      uint16
	Addresses []Address // at least one
	// EveryAddress: none were given, so they are the node's and every virtual IP.
	EveryAddress bool
	Protocol     Protocol
	TLS          *ListenerTLS // of ProtocolHTTPS
	Limits       Limits
	Timeouts     ListenerTimeouts
	Backlog      int
	KeepAlive    KeepAlive
	Ping         Ping // of clients that speak HTTP/2
	// UserTimeout is TCP_USER_TIMEOUT; 0 leaves the kernel's.
	UserTimeout time.Duration
	// ReceiveBuffer and SendBuffer are those of a connection's socket, in bytes; 0
	// leaves the kernel's.
	ReceiveBuffer, SendBuffer int
	TrustedProxies            []netip.Prefix
	ProxyProtocol             ProxyProtocol
	ErrorFormat               ErrorFormat
	Path                      message.PathOptions
	// Routes are the routes of this listener, indexed.
	Routes Index

	// Series is the listener's slot in the node's metrics, written by the engine
	// before the table is published.
	Series uint32
}

// AddressKind tells the node's own listen address from others.
type AddressKind uint8

// The kinds of addresses.
const (
	AddressNode    AddressKind = iota // the node's --listen-address
	AddressLiteral                    // Address.IP
	AddressVIP                        // Address.IP, while this node holds Address.VIP
)

// Address is where a listener listens.
type Address struct {
	Kind AddressKind
	IP   netip.Addr // of AddressLiteral and AddressVIP
	VIP  string     // name of the virtual IP, of AddressVIP
}

// Limits bound what one client may make a node hold.
type Limits struct {
	HeaderBytes  int
	HeaderFields int
	BodyBytes    int64 // -1: no limit
	Connections  int   // of one node; 0: no limit but the node's
	// ConnectionsPerClient are those of one address on one node; 0: no limit.
	ConnectionsPerClient int
	// FaultsPerClient are the faults of one address, on one node: connections that end by what it sends,
	// some of which count as several. So many at once, and each second a tenth as many; 0: no limit.
	FaultsPerClient int
}

// ListenerTimeouts end what a client leaves hanging.
type ListenerTimeouts struct {
	RequestHead time.Duration // first byte of a request to the end of its head
	Idle        time.Duration // a kept connection without a request
	StreamIdle  time.Duration // an exchange in which no byte moves
	MaxLifetime time.Duration // about when a connection is not used for further requests, a tenth earlier or later; 0: never
}

// KeepAlive is TCP keep-alive (RFC 1122 section 4.2.3.6).
type KeepAlive struct {
	Idle, Interval time.Duration
	Probes         int
}

// Ping asks whether the other end of a connection of HTTP/2 is there.
type Ping struct {
	Interval time.Duration // without a byte, while a stream is open; 0: never
	Timeout  time.Duration // without a byte after a PING: the connection is over
}

// ProxyProtocol says whether connections begin with a header of the PROXY
// protocol. Only that of a peer in TrustedProxies is believed.
type ProxyProtocol uint8

// What a listener expects.
const (
	ProxyOff ProxyProtocol = iota
	ProxyOptional
	ProxyRequired
)

// Trusts tells whether a peer's word about who the client is counts.
func (l *Listener) Trusts(peer netip.Addr) bool {
	for _, p := range l.TrustedProxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// ErrorFormat is the shape of answers that the node makes itself.
type ErrorFormat uint8

// The shapes.
const (
	ErrorText ErrorFormat = iota
	ErrorJSON
	ErrorHTML
)

// Protocol is what is spoken on a listener.
type Protocol uint8

// The protocols.
const (
	ProtocolHTTP Protocol = iota
	ProtocolHTTPS
	ProtocolTCP
	ProtocolTLSPassthrough
)

// CarriesRoutes tells whether requests come by this protocol, so that routes which
// name no listener are its too. The others have the routes that name them.
func (p Protocol) CarriesRoutes() bool { return p == ProtocolHTTP || p == ProtocolHTTPS }

// String is the protocol as resources write it.
func (p Protocol) String() string {
	switch p {
	case ProtocolHTTP:
		return "HTTP"
	case ProtocolHTTPS:
		return "HTTPS"
	case ProtocolTCP:
		return "TCP"
	case ProtocolTLSPassthrough:
		return "TLS_PASSTHROUGH"
	}
	return "unknown"
}
