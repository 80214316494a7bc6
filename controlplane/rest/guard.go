package rest

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

// guard refuses what a page in somebody's browser could send. Until
// authentication exists, being able to reach the address is all that a client
// must prove, and a browser on the same machine can reach a loopback address
// for any page it shows.
type guard struct {
	// bound is the address that the server listens on.
	bound netip.AddrPort
}

// check returns an error for a request that names a foreign origin (cross-site
// request) or, on a loopback address, a foreign host (DNS rebinding: a page's
// own name made to resolve to 127.0.0.1, so that its requests are same-origin).
func (g guard) check(r *http.Request) error {
	if g.bound.Addr().IsLoopback() && !g.ownHost(r.Host) {
		return api.NewError(api.TypeForbidden,
			"host %q: expected a loopback name or %s, since the control plane listens on loopback without authentication", r.Host, g.bound)
	}
	origins, ok := r.Header["Origin"]
	if !ok {
		return nil
	}
	if len(origins) == 1 {
		// The scheme is left open: whoever ends TLS before us keeps the host.
		_, host, found := strings.Cut(origins[0], "://")
		if found && strings.EqualFold(host, r.Host) {
			return nil
		}
	}
	return api.NewError(api.TypeForbidden, "origin %q: expected none, or the control plane's own host %q", strings.Join(origins, ", "), r.Host)
}

// ownHost says whether a Host field names this machine. The port is free: a
// tunnel may have another.
func (g guard) ownHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap().IsLoopback() || addr.Unmap() == g.bound.Addr().Unmap()
	}
	// RFC 6761 section 6.3: resolvers keep localhost and what is under it on loopback.
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
