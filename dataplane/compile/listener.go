package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// compileListeners makes the sorted list of listeners. The list is a new one even
// if nothing changed: the engine writes into it before it publishes the table.
func (c *compiler) compileListeners() {
	old := c.prev.Table.Listeners
	changed := map[string]bool{}
	for _, name := range c.listeners.removed {
		changed[name] = true
	}
	var fresh []table.Listener
	for i := range c.listeners.upserts {
		leaf := &c.listeners.upserts[i]
		changed[leaf.Key.Name] = true
		r := c.read(leaf)
		if r == nil {
			continue
		}
		if l, ok := c.listener(leaf.Key, resource.WithDefaults(r).GetListener()); ok {
			if before := c.prev.Table.Listener(l.Name); before != nil {
				l.Series = before.Series
			}
			fresh = append(fresh, l)
		}
	}
	all := make([]table.Listener, 0, len(old)+len(fresh))
	for i := range old {
		if !changed[old[i].Name] {
			all = append(all, old[i])
		}
	}
	all = append(all, fresh...)
	slices.SortFunc(all, func(a, b table.Listener) int { return strings.Compare(a.Name, b.Name) })
	c.built.Table.Listeners = all
	c.bindVIPs()
	if len(fresh) > 0 || c.vips.any() {
		c.findOverlaps()
	}
}

// listener converts one definition, with defaults.
func (c *compiler) listener(key tree.Key, d *fleetv1.Listener) (l table.Listener, ok bool) {
	told := len(c.problems)
	l = table.Listener{
		Name:     key.Name,
		Port:     uint16(d.GetPort()),
		Protocol: protocol(d.GetProtocol()),
		TLS:      c.listenerTLS(key, d.GetTls()),
		Limits: table.Limits{
			HeaderBytes:  int(d.GetLimits().GetHeader()),
			HeaderFields: int(d.GetLimits().GetHeaderFields()),
			BodyBytes:    -1,
			Connections:  int(d.GetLimits().GetConnections()),

			ConnectionsPerClient: int(d.GetLimits().GetConnectionsPerClient()),
			FaultsPerClient:      int(d.GetLimits().GetFaultsPerClient()),
		},
		Timeouts: table.ListenerTimeouts{
			RequestHead: time.Duration(d.GetTimeouts().GetRequestHead()),
			Idle:        time.Duration(d.GetTimeouts().GetIdle()),
			StreamIdle:  time.Duration(d.GetTimeouts().GetStreamIdle()),
			MaxLifetime: time.Duration(d.GetTimeouts().GetMaxLifetime()),
		},
		Backlog:       int(d.GetBacklog()),
		KeepAlive:     keepAlive(d.GetTcpKeepAlive()),
		Ping:          ping(d.GetPing()),
		UserTimeout:   time.Duration(d.GetTcpUserTimeout()),
		ReceiveBuffer: int(d.GetReceiveBuffer()),
		SendBuffer:    int(d.GetSendBuffer()),
		Path: message.PathOptions{
			MergeSlashes:         d.GetMergeSlashes(),
			RejectEscapedSlashes: d.GetEscapedSlashes() == fleetv1.Listener_REJECT,
		},
	}
	if limits := d.GetLimits(); limits.Body != nil {
		l.Limits.BodyBytes = int64(min(limits.GetBody(), 1<<62))
	}
	switch d.GetErrorFormat() {
	case fleetv1.Listener_JSON:
		l.ErrorFormat = table.ErrorJSON
	case fleetv1.Listener_HTML:
		l.ErrorFormat = table.ErrorHTML
	default:
		l.ErrorFormat = table.ErrorText
	}
	if l.Ping.Interval > 0 && !l.Protocol.CarriesRoutes() {
		c.tell(key, "spec.ping", "a ping", "protocol HTTP or HTTPS: others pass bytes on as they are")
	}
	if t := l.Timeouts.MaxLifetime; t > 0 && !l.Protocol.CarriesRoutes() {
		c.tell(key, "spec.timeouts.maxLifetime", t.String(), "protocol HTTP or HTTPS: others pass bytes on as they are")
	}
	l.EveryAddress = len(d.GetAddresses()) == 0
	l.ProxyProtocol = c.proxyProtocol(key, d)
	for i, s := range d.GetAddresses() {
		l.Addresses = append(l.Addresses, c.listenAddress(key, i, s))
	}
	for i, s := range d.GetTrustedProxies() {
		prefix, err := parsePrefix(s)
		if err != nil {
			c.tell(key, fmt.Sprintf("spec.trustedProxies[%d]", i), quote(s), "an address or a prefix")
			continue
		}
		l.TrustedProxies = append(l.TrustedProxies, prefix)
	}
	// Without its TLS, whose certificate is missing, it is not a listener either.
	return l, len(c.problems) == told && (d.GetTls() == nil || l.TLS != nil)
}

// proxyProtocol refuses one that would be taken from nobody.
func (c *compiler) proxyProtocol(key tree.Key, d *fleetv1.Listener) table.ProxyProtocol {
	p := table.ProxyOff
	switch d.GetProxyProtocol() {
	case fleetv1.Listener_OPTIONAL:
		p = table.ProxyOptional
	case fleetv1.Listener_REQUIRED:
		p = table.ProxyRequired
	}
	if p != table.ProxyOff && len(d.GetTrustedProxies()) == 0 {
		c.tell(key, "spec.proxyProtocol", d.GetProxyProtocol().String(), "trustedProxies in the same listener: no other peer's header is believed")
	}
	return p
}

func (c *compiler) listenAddress(key tree.Key, i int, s string) table.Address {
	field := fmt.Sprintf("spec.addresses[%d]", i)
	if s == "NODE" {
		return table.Address{Kind: table.AddressNode}
	}
	if name, isVIP := strings.CutPrefix(s, "vip/"); isVIP {
		return table.Address{Kind: table.AddressVIP, VIP: name} // bindVIPs knows its IP
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		c.tell(key, field, quote(s), "NODE or an IP address without a port")
		return table.Address{}
	}
	return table.Address{Kind: table.AddressLiteral, IP: ip.Unmap()}
}

func protocol(p fleetv1.Listener_Protocol) table.Protocol {
	switch p {
	case fleetv1.Listener_HTTPS:
		return table.ProtocolHTTPS
	case fleetv1.Listener_TCP:
		return table.ProtocolTCP
	case fleetv1.Listener_TLS_PASSTHROUGH:
		return table.ProtocolTLSPassthrough
	default:
		return table.ProtocolHTTP
	}
}

// parsePrefix reads a prefix, or an address as the prefix of itself.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// findOverlaps tells which listeners would take each other's connections. Two
// sockets on one address and port share its connections at random (they are bound
// with SO_REUSEPORT), so this is refused rather than left to the kernel.
func (c *compiler) findOverlaps() {
	byPort := map[uint16][]*table.Listener{}
	for i := range c.built.Table.Listeners {
		l := &c.built.Table.Listeners[i]
		for _, other := range byPort[l.Port] {
			if address, overlap := overlaps(l, other); overlap {
				c.tell(tree.Key{Kind: resource.Listener, Name: l.Name}, "spec.port",
					fmt.Sprintf("%d, which %s has too on %s", l.Port, other.Name, address),
					"a port of its own, or addresses that do not overlap")
				break
			}
		}
		byPort[l.Port] = append(byPort[l.Port], l)
	}
}

// overlaps names an address that both have. The node's own address is not known
// here, and is every address by default: it overlaps all but virtual IPs, whose
// connections go to the socket that is bound to the very address.
func overlaps(a, b *table.Listener) (address string, overlap bool) {
	for _, x := range a.Addresses {
		for _, y := range b.Addresses {
			switch {
			case x.Kind == table.AddressNode && y.Kind == table.AddressNode:
				return "NODE", true
			case x.Kind == table.AddressVIP && y.Kind == table.AddressVIP:
				if x.VIP == y.VIP {
					return "vip/" + x.VIP, true
				}
			case x.Kind == table.AddressVIP && y.Kind == table.AddressNode, x.Kind == table.AddressNode && y.Kind == table.AddressVIP:
			case x.Kind == table.AddressNode:
				return "NODE (which may be " + y.IP.String() + ")", true
			case y.Kind == table.AddressNode:
				return "NODE (which may be " + x.IP.String() + ")", true
			case x.IP == y.IP, covers(x.IP, y.IP):
				return x.IP.String(), true
			case covers(y.IP, x.IP):
				return y.IP.String(), true
			}
		}
	}
	return "", false
}

// covers tells whether listening on a takes b's connections: "::" takes IPv4 too.
func covers(a, b netip.Addr) bool {
	return a.IsUnspecified() && (a.Is6() || b.Is4())
}
