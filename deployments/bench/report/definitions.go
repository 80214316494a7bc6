package report

// Definition tells what a scenario is about.
type Definition struct {
	ID, Title, Text string
	// Columns by load; a load without columns has no table.
	Columns map[Load][]Key
	// Unit is what is counted; empty: a request.
	Unit string
}

// unit is that of a scenario.
func unit(scenario string) string {
	for _, d := range Definitions() {
		if d.ID == scenario && d.Unit != "" {
			return d.Unit
		}
	}
	return "request"
}

var (
	costColumns  = []Key{CPU, User, System, Rate, Busy, Others, LoadBusy}
	fixedColumns = []Key{CPU, P50, P99, Late, Busy, Others, LoadBusy}
	bodyColumns  = []Key{CPUBytes, UserBytes, SystemBytes, Throughput, Busy, Others, LoadBusy}
)

// Definitions are all scenarios, in the order of the page.
func Definitions() []Definition {
	both := map[Load][]Key{Saturated: costColumns, Fixed: fixedColumns}
	logged := map[Load][]Key{Saturated: append([]Key{LogBytes, Dropped}, costColumns...), Fixed: fixedColumns}
	costs := map[Load][]Key{Saturated: costColumns}
	bodies := map[Load][]Key{Saturated: bodyColumns}
	idle := map[Load][]Key{None: {Idle}}
	memory := map[Load][]Key{Saturated: append([]Key{Peak}, costColumns...), Fixed: fixedColumns}
	return []Definition{
		{ID: Bare, Title: "Bare against bare", Columns: both, Text: "64 connections, one route, no access log, no rules. " +
			"proxyfleet cannot be bare: it always sets `X-Forwarded-*` and a request id, and counts; the rivals do none of that here."},
		{ID: LikeForLike, Title: "Like for like", Columns: logged, Text: "64 connections; each has an access log in a file, one rule that sets a field of " +
			"answers, and 1,000 virtual hosts that requests choose from at random. nginx and Caddy write their usual " +
			"lines, nginx in blocks of 64 KiB; HAProxy's `httplog` goes to its standard output, which is a file; " +
			"proxyfleet's lines are JSON with ids, route and timings."},
		{ID: Everything, Title: "Everything on, against bare nginx", Columns: logged, Text: "proxyfleet with an access log in a file, metrics, `X-Forwarded-*`, " +
			"a rule that sets a field of answers, every timeout and limit spelled out, and 10,000 routes (1,000 hosts × 10) " +
			"that requests choose from at random; nginx with one `location`, no log and no rule, for the same requests."},
		{ID: TLS, Title: "HTTP/1.1 over TLS 1.3, like for like", Columns: logged, Text: "As *like for like*, but clients come by TLS 1.3: " +
			"all with TLS_AES_128_GCM_SHA256 and X25519, and the same certificate on P-256. Connections are kept, so that handshakes do not count."},
		{ID: HTTP2, Title: "HTTP/2 over TLS, 8 connections × 32 streams", Columns: costs, Text: "No access log, one route; TLS as above. " +
			"The backend speaks HTTP/1.1, or, where it says so, HTTP/2 in cleartext (nginx has none of it). The load is h2load's, " +
			"which keeps 32 requests under way on each connection."},
		{ID: HTTP2Wide, Title: "HTTP/2 over TLS, 64 connections × 1 stream", Columns: costs, Text: "The same with one request under way on each of 64 connections."},
		{ID: Handshakes, Title: "Handshakes", Columns: costs, Unit: "handshake", Text: "Connections that make a handshake of TLS 1.3 and ask for nothing, " +
			"16 at once: whole ones (ECDSA on P-256, X25519), and such that resume the session of the connection before by its ticket, " +
			"with X25519 too. The client waits for the ticket and ends by close_notify; accepting and closing the connection is part of the cost. " +
			"The client's own arithmetic takes about as long, so its core may be the one that is full."},
		{ID: Connections, Title: "Short and kept connections", Columns: costs, Text: "In plaintext, 64 at once: a connection for each request, " +
			"which asks for its end, beside kept ones. Connections to the backend are kept either way."},
		{ID: Bodies, Title: "Bodies of 100 MiB", Columns: bodies, Text: "Downloads on 4 kept connections, in plaintext. The backend sends from memory by sendfile(2), " +
			"and the client lets the kernel throw away what comes, so that their core does less than any proxy's. nginx has larger buffers than by default and writes none to disk; " +
			"HAProxy may splice(2)."},
		{ID: BodiesTLS, Title: "Bodies of 100 MiB over TLS", Columns: bodies, Text: "The same with clients that come by TLS 1.3, as above. They decrypt all that comes, on the load's core."},
		{ID: Loss, Title: "HTTP/2 against pipelined HTTP/1.1, with delay and loss", Columns: map[Load][]Key{Pages: {Rate, P50, P95}}, Text: "16 clients, each with one " +
			"connection of TLS, open pages of ten objects of 2 KiB: all ten requests are sent at once, by HTTP/2 as ten streams, by HTTP/1.1 one behind the " +
			"other. One in a hundred packets of up to 1,500 bytes between client and proxy is lost (nftables), and the backend is 50 ms away (a relay that holds " +
			"each byte for 25 ms, both ways). Where the delay is matters: between client and proxy both protocols need one round trip for a page, and are much " +
			"alike; but a proxy takes the requests of one connection of HTTP/1.1 one after another, since their answers must come in order " +
			"(RFC 9112 section 9.3.2), so what an answer takes behind it adds up. Latencies are of objects, from the beginning of their page."},
		{ID: GoProxies64, Title: "Against the Go reverse proxy, 64 connections", Columns: memory, Text: "`httputil.ReverseProxy`, as its documentation shows it " +
			"(default), and with a pool as large as the load and kept buffers (tuned). nginx stands beside them."},
		{ID: GoProxies1k, Title: "Against the Go reverse proxy, 1,000 connections", Columns: memory, Text: "The same."},
		{ID: GoProxies5k, Title: "Against the Go reverse proxy, 5,000 connections", Columns: memory, Text: "The same. The default one opens a connection for nearly " +
			"every request, and looks for a free port among all that are still closing."},
		{ID: Routes, Title: "Many routes", Columns: costs, Text: "proxyfleet without a log; requests choose among all routes at random, and all have the same length."},
		{ID: Features, Title: "What each feature costs", Columns: map[Load][]Key{Saturated: append([]Key{Dropped}, costColumns...)}, Text: "proxyfleet with one feature at a time. " +
			"Metrics and `X-Forwarded-*` cannot be switched off, and are in the first row. The last row has neither TLS nor HTTP/2."},
		{ID: Allocations, Title: "Allocations and pauses", Columns: map[Load][]Key{Saturated: {Mallocs, Pause, Counted, Waited}}, Text: "proxyfleet with everything on and 10,000 routes. " +
			"What reading the statistics allocates is measured before, and subtracted. Pauses are those of some 20 collections of garbage that are " +
			"asked for under load: of its own accord a node hardly collects. A pause begins with the order to stop the world and " +
			"ends with the first of Go's processors that runs again, as the execution trace tells. All threads of the node share " +
			"one core here: the runtime counts until the thread that ended the stop has the core again, and the loop may have to " +
			"wait for it while the collector works. Both stand beside."},
		{ID: IdleMemory, Title: "Memory of an idle connection", Columns: idle, Text: "Connections that had one answer and are kept. The slope of the private " +
			"memory that was written to, between two numbers of connections, each after it settled; what is allocated once " +
			"for the process is not in it. One measurement each."},
		{ID: IdleTLS, Title: "Memory of an idle TLS connection", Columns: idle, Text: "The same by TLS 1.3, after an answer of 1 KiB."},
		{ID: IdleTLSPost, Title: "Memory of an idle TLS connection after an upload", Columns: idle, Text: "The same after a request with a body of 32 KiB, " +
			"which comes in records of 16 KiB."},
		{ID: IdleAndBusy, Title: "Idle connections beside busy ones", Columns: both, Text: "64 busy connections, with and without idle ones on the same listener."},
	}
}
