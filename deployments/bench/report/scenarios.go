package report

import "strings"

// The scenarios.
const (
	Bare        = "bare"
	LikeForLike = "like-for-like"
	Everything  = "everything-on"
	GoProxies64 = "go-proxies-64"
	GoProxies1k = "go-proxies-1000"
	GoProxies5k = "go-proxies-5000"
	Routes      = "routes"
	Features    = "features"
	Allocations = "allocations"
	IdleMemory  = "idle-memory"
	IdleAndBusy = "idle-and-busy"
	TLS         = "tls"
	HTTP2       = "http2-8x32"
	HTTP2Wide   = "http2-64x1"
	Handshakes  = "handshakes"
	Connections = "connections"
	Bodies      = "bodies"
	BodiesTLS   = "bodies-tls"
	Loss        = "loss"
	IdleTLS     = "idle-tls"
	IdleTLSPost = "idle-tls-post"
)

// Rows of proxies; see package rivals.
const (
	ourName   = "proxyfleet"
	nginx     = "nginx"
	haproxy   = "haproxy"
	caddy     = "caddy"
	goDefault = "go-default"
	goTuned   = "go-tuned"
)

// Way names the row of a proxy that does something in more ways than one.
func Way(proxy, way string) string { return proxy + waySeparator + way }

const waySeparator = ", "

// The ways.
const (
	WayHTTP2   = "HTTP/2 to the backend"
	WayFull    = "full handshakes"
	WayResumed = "resumed"
	WayShort   = "a connection for each request"
	WayKept    = "kept connections"

	WayMultiplexed = "HTTP/2"
	WayPipelined   = "HTTP/1.1, pipelined"
)

// Rival says that a row is of a proxy that is not ours.
func Rival(row string) bool {
	proxy, _, _ := strings.Cut(row, waySeparator)
	switch proxy {
	case nginx, haproxy, caddy, goDefault, goTuned:
		return true
	}
	return false
}

// Rows of the scenarios in which only proxyfleet takes part.
const (
	RowTenRoutes = "10 routes"
	RowOneHost   = "100,000 routes on one host"
	RowManyHosts = "100,000 routes on 10,000 hosts"

	RowBare     = "bare"
	RowLog      = "access log"
	RowHeader   = "header rule"
	RowHosts    = "1,000 hosts"
	RowTimeouts = "timeouts and limits"
	RowTLS      = "TLS 1.3"
	RowHTTP2    = "TLS 1.3 and HTTP/2"
	RowAll      = "all of them, 10,000 routes"

	RowNoIdle   = "no idle connections"
	RowWithIdle = "idle connections too"
)
