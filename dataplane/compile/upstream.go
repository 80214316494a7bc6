package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/balance"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// compileUpstreams makes the sorted list of upstreams, and notes which have a
// new object.
func (c *compiler) compileUpstreams() {
	old := c.prev.Table
	if !c.upstreams.any() {
		c.built.Table.Upstreams = old.Upstreams
		return
	}
	changed := map[string]bool{}
	for _, name := range c.upstreams.removed {
		changed[name] = true
	}
	var fresh []*table.Upstream
	for i := range c.upstreams.upserts {
		leaf := &c.upstreams.upserts[i]
		changed[leaf.Key.Name] = true
		r := c.read(leaf)
		if r == nil {
			continue
		}
		u := c.upstream(leaf.Key, resource.WithDefaults(r).GetUpstream())
		if u == nil {
			continue
		}
		if before := old.Upstream(u.Name); before != nil {
			if sameUpstream(before, u) {
				u = before // only labels changed, say
			} else {
				if sameTLS(before.TLS, u.TLS) {
					u.TLS = before.TLS // the object says that connections and sessions are still good
				}
				c.moved = append(c.moved, u)
			}
		}
		fresh = append(fresh, u)
	}
	all := make([]*table.Upstream, 0, len(old.Upstreams)+len(fresh))
	for _, u := range old.Upstreams {
		if !changed[u.Name] {
			all = append(all, u)
		}
	}
	all = append(all, fresh...)
	slices.SortFunc(all, func(a, b *table.Upstream) int { return strings.Compare(a.Name, b.Name) })
	c.spend(costLeaf * len(all))
	c.built.Table.Upstreams = all
}

// upstream converts one definition, with defaults; nil if it has problems.
func (c *compiler) upstream(key tree.Key, d *fleetv1.Upstream) *table.Upstream {
	told := len(c.problems)
	u := &table.Upstream{
		Name:           key.Name,
		Endpoints:      make([]table.Endpoint, 0, len(d.GetEndpoints())),
		ConnectTimeout: time.Duration(d.GetTimeouts().GetConnect()),
		Pool: table.Pool{
			MaxConnections: int(d.GetPool().GetMaxConnections()),
			MaxIdle:        int(d.GetPool().GetMaxIdle()),
			MinIdle:        int(d.GetPool().GetMinIdle()),
			IdleTimeout:    time.Duration(d.GetPool().GetIdleTimeout()),
			MaxRequests:    int(d.GetPool().GetMaxRequests()),
			MaxLifetime:    time.Duration(d.GetPool().GetMaxLifetime()),
		},
		Socket: table.UpstreamSocket{
			KeepAlive:   keepAlive(d.GetTcpKeepAlive()),
			UserTimeout: time.Duration(d.GetTcpUserTimeout()),
		},
		TLS: c.upstreamTLS(key, d.GetTls()),
	}
	if u.TLS == nil && d.GetTls() != nil {
		return nil
	}
	switch d.GetProxyProtocol() {
	case fleetv1.Upstream_V1:
		u.ProxyProtocol = table.ProxyHeaderV1
	case fleetv1.Upstream_V2:
		u.ProxyProtocol = table.ProxyHeaderV2
	default:
		u.ProxyProtocol = table.ProxyHeaderNone
	}
	u.HTTP2 = d.GetProtocol() == fleetv1.Upstream_HTTP2
	if u.HTTP2 && u.ProxyProtocol != table.ProxyHeaderNone {
		c.tell(key, "spec.proxyProtocol", d.GetProxyProtocol().String(), "protocol HTTP1: a connection of HTTP2 carries requests of many clients")
	}
	c.checkWarm(key, d)
	if u.Ping = ping(d.GetPing()); u.Ping.Interval > 0 && !u.HTTP2 {
		c.tell(key, "spec.ping", "a ping", "protocol HTTP2: HTTP/1.1 has none")
	}
	weights := make([]uint32, 0, len(d.GetEndpoints()))
	for i, e := range d.GetEndpoints() {
		if path, ok := strings.CutPrefix(e.GetAddress(), "unix:"); ok {
			c.checkUnix(key, i, e.GetAddress(), d)
			u.Endpoints = append(u.Endpoints, table.Endpoint{Address: e.GetAddress(), Unix: path, Weight: e.GetWeight()})
			weights = append(weights, e.GetWeight())
			continue
		}
		address, ok := c.endpointAddress(key, i, e.GetAddress())
		if !ok {
			continue
		}
		u.Endpoints = append(u.Endpoints, table.Endpoint{Address: e.GetAddress(), AddrPort: address, Weight: e.GetWeight()})
		weights = append(weights, e.GetWeight())
	}
	if len(c.problems) > told {
		return nil
	}
	switch d.GetLoadBalancing().GetAlgorithm() {
	case fleetv1.LoadBalancing_LEAST_REQUEST:
		u.Algorithm, u.LeastRequest = table.AlgorithmLeastRequest, balance.NewLeastRequest(weights)
	default: // Check refused those that do not exist yet
		u.Algorithm, u.RoundRobin = table.AlgorithmRoundRobin, balance.NewRoundRobin(weights)
		c.spend(2 * len(weights) * u.RoundRobin.Period())
	}
	return u
}

// leastWarm is the least time for which a connection is kept warm: with less a node
// would do little else than open them.
const leastWarm = time.Second

// checkWarm: a pool's least must be possible, and of use.
func (c *compiler) checkWarm(key tree.Key, d *fleetv1.Upstream) {
	p := d.GetPool()
	least := p.GetMinIdle()
	if least == 0 {
		return
	}
	got := fmt.Sprint(least)
	switch {
	case least > p.GetMaxIdle():
		c.tell(key, "spec.pool.minIdle", got, fmt.Sprintf("at most maxIdle, %d", p.GetMaxIdle()))
	case least > p.GetMaxConnections():
		c.tell(key, "spec.pool.minIdle", got, fmt.Sprintf("at most maxConnections, %d", p.GetMaxConnections()))
	}
	if t := time.Duration(p.GetIdleTimeout()); t < leastWarm {
		c.tell(key, "spec.pool.idleTimeout", t.String(), "1s or more beside minIdle")
	}
	if t := time.Duration(p.GetMaxLifetime()); t > 0 && t < leastWarm {
		c.tell(key, "spec.pool.maxLifetime", t.String(), "1s or more beside minIdle")
	}
	if d.GetProxyProtocol() != fleetv1.Upstream_PROXY_PROTOCOL_UNSPECIFIED {
		c.tell(key, "spec.pool.minIdle", got, "no proxyProtocol in the same upstream: its connections belong to clients")
	}
}

// checkUnix: by TLS a UNIX socket has no name of its own to be verified against.
func (c *compiler) checkUnix(key tree.Key, i int, address string, d *fleetv1.Upstream) {
	if d.GetTls() != nil && d.GetTls().GetServerName() == "" {
		c.tell(key, fmt.Sprintf("spec.endpoints[%d].address", i), quote(address), "tls.serverName in the same upstream: a UNIX socket has no name to verify")
	}
}

// endpointAddress refuses what the schema knows and nodes cannot do yet.
func (c *compiler) endpointAddress(key tree.Key, i int, address string) (netip.AddrPort, bool) {
	field := fmt.Sprintf("spec.endpoints[%d].address", i)
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		c.tell(key, field, quote(address), "an IP address and port: host names are "+resource.NotSupported)
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), true
}

func ping(d *fleetv1.Ping) table.Ping {
	return table.Ping{Interval: time.Duration(d.GetInterval()), Timeout: time.Duration(d.GetTimeout())}
}

func keepAlive(d *fleetv1.KeepAlive) table.KeepAlive {
	return table.KeepAlive{
		Idle:     time.Duration(d.GetIdle()),
		Interval: time.Duration(d.GetInterval()),
		Probes:   int(d.GetProbes()),
	}
}

// sameUpstream compares what was compiled; the pickers follow from the rest.
func sameUpstream(a, b *table.Upstream) bool {
	return a.Algorithm == b.Algorithm && a.ConnectTimeout == b.ConnectTimeout && a.Pool == b.Pool && a.Socket == b.Socket && a.ProxyProtocol == b.ProxyProtocol &&
		a.HTTP2 == b.HTTP2 && a.Ping == b.Ping &&
		sameTLS(a.TLS, b.TLS) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y table.Endpoint) bool {
			return x.Address == y.Address && x.AddrPort == y.AddrPort && x.Unix == y.Unix && x.Weight == y.Weight
		})
}
