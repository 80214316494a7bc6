package report

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

// Rows of proxies that speak HTTP/2 to the backend too.
const (
	RowOurs2    = "proxyfleet, HTTP/2 to the backend"
	RowHAProxy2 = "haproxy, HTTP/2 to the backend"
)

// Rival says that a row is of a proxy that is not ours.
func Rival(row string) bool {
	switch row {
	case nginx, haproxy, caddy, goDefault, goTuned, RowHAProxy2:
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
	RowAll      = "all of them, 10,000 routes"

	RowNoIdle   = "no idle connections"
	RowWithIdle = "idle connections too"
)

// Definition tells what a scenario is about.
type Definition struct {
	ID, Title, Text string
	// Columns by load; a load without columns has no table.
	Columns map[Load][]Key
}

var (
	costColumns  = []Key{CPU, User, System, Rate, Busy, Others, LoadBusy}
	fixedColumns = []Key{CPU, P50, P99, Late, Busy, Others, LoadBusy}
)

// Definitions are all scenarios, in the order of the page.
func Definitions() []Definition {
	both := map[Load][]Key{Saturated: costColumns, Fixed: fixedColumns}
	logged := map[Load][]Key{Saturated: append([]Key{LogBytes, Dropped}, costColumns...), Fixed: fixedColumns}
	memory := map[Load][]Key{Saturated: append([]Key{Peak}, costColumns...), Fixed: fixedColumns}
	return []Definition{
		{Bare, "Bare against bare", "64 connections, one route, no access log, no rules. proxyfleet cannot be bare: " +
			"it always sets `X-Forwarded-*` and a request id, and counts; the rivals do none of that here.", both},
		{LikeForLike, "Like for like", "64 connections; each has an access log in a file, one rule that sets a field of " +
			"answers, and 1,000 virtual hosts that requests choose from at random. nginx and Caddy write their usual " +
			"lines, nginx in blocks of 64 KiB; HAProxy's `httplog` goes to its standard output, which is a file; " +
			"proxyfleet's lines are JSON with ids, route and timings.", logged},
		{Everything, "Everything on, against bare nginx", "proxyfleet with an access log in a file, metrics, `X-Forwarded-*`, " +
			"a rule that sets a field of answers, every timeout and limit spelled out, and 10,000 routes (1,000 hosts × 10) " +
			"that requests choose from at random; nginx with one `location`, no log and no rule, for the same requests.", logged},
		{GoProxies64, "Against the Go reverse proxy, 64 connections", "`httputil.ReverseProxy`, as its documentation shows it " +
			"(default), and with a pool as large as the load and kept buffers (tuned). nginx stands beside them.", memory},
		{GoProxies1k, "Against the Go reverse proxy, 1,000 connections", "The same.", memory},
		{GoProxies5k, "Against the Go reverse proxy, 5,000 connections", "The same. The default one opens a connection for nearly " +
			"every request, and looks for a free port among all that are still closing.", memory},
		{
			Routes, "Many routes", "proxyfleet without a log; requests choose among all routes at random, and all have the same length.",
			map[Load][]Key{Saturated: costColumns},
		},
		{Features, "What each feature costs", "proxyfleet with one feature at a time. Metrics and `X-Forwarded-*` cannot be " +
			"switched off, and are in the first row.", map[Load][]Key{Saturated: append([]Key{Dropped}, costColumns...)}},
		{Allocations, "Allocations and pauses", "proxyfleet with everything on and 10,000 routes. What reading the " +
			"statistics allocates is measured before, and subtracted. Pauses are those of 20 collections of garbage that are " +
			"asked for under load: of its own accord a node hardly collects.", map[Load][]Key{Saturated: {Mallocs, Pause}}},
		{IdleMemory, "Memory of an idle connection", "Connections that had one answer and are kept. The slope of the private " +
			"memory that was written to, between two numbers of connections, each after it settled; what is allocated once " +
			"for the process is not in it. One measurement each.", map[Load][]Key{None: {Idle}}},
		{TLS, "HTTP/1.1 over TLS 1.3, like for like", "As *like for like*, but clients come by TLS 1.3: all with " +
			"TLS_AES_128_GCM_SHA256 and X25519, and the same certificate on P-256. Connections are kept, so that handshakes do not count.", logged},
		{HTTP2, "HTTP/2 over TLS, 8 connections × 32 streams", "No access log, one route; TLS as above. The backend speaks HTTP/1.1, " +
			"or, where it says so, HTTP/2 in cleartext (nginx has none of it). The load is h2load's, which keeps 32 requests under way " +
			"on each connection.", map[Load][]Key{Saturated: costColumns}},
		{
			HTTP2Wide, "HTTP/2 over TLS, 64 connections × 1 stream", "The same with one request under way on each of 64 connections.",
			map[Load][]Key{Saturated: costColumns},
		},
		{IdleAndBusy, "Idle connections beside busy ones", "64 busy connections, with and without idle ones on the same listener.", both},
	}
}
