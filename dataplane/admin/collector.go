package admin

import (
	"iter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
)

const (
	// pauseEvery is after how many series the permit is let go for a moment: well
	// within a millisecond.
	pauseEvery = 16
	// maxEndpoints bounds the gauges of endpoints, as package stats does it for
	// what it counts.
	maxEndpoints = 4096

	// Points per doubling of histograms: 84 buckets where there are few series, 42
	// for routes.
	finePoints   = 4
	coarsePoints = 2
)

// collector reads the counters when Prometheus asks.
type collector struct {
	config Config
	descs  map[string]*prometheus.Desc
}

func newCollector(c Config) *collector {
	d := &collector{config: c, descs: map[string]*prometheus.Desc{}}
	for _, m := range described {
		d.descs[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
	}
	return d
}

// description is what a metric's name does not say.
type description struct {
	name, help string
	labels     []string
}

var (
	byListener = []string{"listener"}
	byRoute    = []string{"route"}
	byUpstream = []string{"upstream"}
	byEndpoint = []string{"upstream", "endpoint"}
	byReason   = []string{"reason"}
	byVIP      = []string{"vip"}
	withClass  = func(labels []string) []string { return append(labels[:len(labels):len(labels)], "code_class") }
)

// described lists every metric of ours.
var described = []description{
	{metricBuildInfo, "1, for the build that runs.", []string{"version", "go", "node"}},

	{metricRequests, "Requests finished.", withClass(byListener)},
	{metricRequestDuration, "First byte of the request to last byte of the answer.", byListener},
	{metricReceivedBytes, "Bytes of request bodies.", byListener},
	{metricSentBytes, "Bytes of answers' bodies.", byListener},
	{metricRefused, "Messages of clients that the codec refused.", byListener},
	{metricClientsOpened, "Connections of clients accepted.", byListener},
	{metricClients, "Connections of clients open.", byListener},

	{metricRouteRequests, "Requests finished.", withClass(byRoute)},
	{metricRouteDuration, "First byte of the request to last byte of the answer.", byRoute},
	{metricRouteReceivedBytes, "Bytes of request bodies.", byRoute},
	{metricRouteSentBytes, "Bytes of answers' bodies.", byRoute},
	{metricRouteRetries, "Attempts after the first.", byRoute},

	{metricUpstreamRequests, "Requests that the upstream answered.", withClass(byUpstream)},
	{metricUpstreamUnanswered, "Requests that got no answer from the upstream.", byUpstream},
	{metricUpstreamFirstByte, "Request sent to head of the answer.", byUpstream},
	{metricEndpointRequests, "Requests that the endpoint answered.", withClass(byEndpoint)},
	{metricEndpointUnanswered, "Requests that got no answer from the endpoint.", byEndpoint},
	{metricEndpointStopped, "Failed requests to the endpoint that the retry budget did not let be tried again.", byEndpoint},
	{metricEndpointOpened, "Connections to the endpoint established.", byEndpoint},
	{metricEndpointReused, "Requests that found a kept connection.", byEndpoint},
	{metricEndpointFailed, "Connections that the endpoint did not accept.", []string{"upstream", "endpoint", "kind"}},
	{metricEndpointConnections, "Connections to the endpoint open.", byEndpoint},
	{metricEndpointInFlight, "Requests sent to the endpoint and not finished.", byEndpoint},
	{metricEndpointWaiting, "Requests that wait for a connection to the endpoint.", byEndpoint},

	{metricReasons, "Answers that were not the upstream's or the route's own, by why.", byReason},
	{metricRefusals, "Messages that the codec refused, by the rule that they broke.", byReason},
	{metricRefusalsHTTP2, "Requests, streams and connections that the codec of HTTP/2 refused, by the rule that they broke.", byReason},

	{metricHandshakes, "TLS handshakes with clients and with endpoints, by how they ended.", []string{"side", "result"}},

	{metricExchanges, "Requests under way.", nil},
	{metricAcquire, "Wait for a connection to an endpoint.", nil},
	{metricLoops, "Event loops.", nil},
	{metricLoopLate, "How long turns of the loops took: by so much others were late.", nil},
	{metricLoopTurns, "Turns of the loops.", nil},
	{metricHandedOver, "Connections given to a loop that had fewer.", nil},
	{metricAcceptExhausted, "Accepts that failed for want of descriptors.", nil},
	{metricRefusedClients, "Connections refused before a request was read, by the limit that was reached: of the listener, the node, one client, or the faults of one client.", []string{"limit"}},
	{metricPacketsDropped, "Packets that the kernel dropped, unanswered, while clients were kept off a listener for their faults: those by which they began connections (SYN), and in that time also those beyond the backlog and those behind a reset. Counted when whom it keeps off changes.", nil},
	{metricShed, "Idle connections of clients closed for want of memory or descriptors.", nil},
	{metricSplicedBytes, "Bytes that went from socket to socket by splice(2), without being read.", nil},
	{metricPressure, "Want of memory: 0 none, 1 idle connections are closed, 2 requests are refused too.", nil},
	{metricMemoryLimit, "Memory that the node may use; absent: no limit.", nil},
	{metricBufferBytes, "Bytes that connections hold in buffers.", nil},
	{metricDrained, "1 while the node is drained.", nil},
	{metricLogLines, "Lines of the access log, by what became of them.", []string{"result"}},
	{metricUnwritten, "Messages of the process that were left out, since standard error did not take them.", nil},

	{metricConfigRevision, "Revision in force.", nil},
	{metricConfigWanted, "Revision that arrived last.", nil},
	{metricConfigEpoch, "Epoch in force.", nil},
	{metricConfigApplied, "When the revision in force was applied.", nil},
	{metricConfigDrift, "1 while the table in force was not built from the revision in force.", nil},
	{metricConfigProblems, "Problems that keep the wanted revision from being in force.", nil},
	{metricConfigConnected, "1 while the source of configuration is connected.", nil},
	{metricConfigResources, "Objects of the table in force.", []string{"kind"}},
	{metricCertificateEnd, "When a certificate that the node uses ends, in Unix time.", []string{"certificate"}},
	{metricLastGoodAge, "Time since the last known good configuration was written; absent: none was.", nil},
	{metricFeedStreams, "Streams on which a control plane answered.", nil},
	{metricFeedUpdates, "Updates received.", nil},
	{metricFeedBytes, "Bytes of resources received.", nil},
	{metricFeedAnswers, "Answers to updates.", []string{"result"}},
	{metricFeedCompileTotal, "Time spent on compiling updates.", nil},
	{metricFeedCompileLatest, "Time spent on compiling the last update.", nil},

	{metricVIPHeld, "1 while this node holds the virtual IP and accepts connections to it.", byVIP},
	{metricVIPVacant, "1 while nobody holds the virtual IP, as far as this node knows.", byVIP},
	{metricVIPConflict, "1 while somebody else has the virtual IP that this node holds, or a port of it.", byVIP},
	{metricMembersAlive, "Members of the fleet that gossip knows to be there, this node among them.", nil},
	{metricMembersExpected, "Expected members of the fleet.", nil},
	{metricAgentRunning, "1 while the vip-agent runs.", nil},
	{metricAgentRestarts, "Vip-agents after the first.", nil},
	{metricSocketsCut, "Sockets of virtual IPs that were ended since the vip-agent was silent.", nil},
	{metricInboxLost, "Messages of members that the vip-agent that runs could not take.", nil},
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect is part of prometheus.Collector. The permit is held by whoever asks.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := scrape{collector: c, ch: ch, set: c.config.Stats}
	s.node()
	s.listeners()
	s.routes()
	s.upstreams()
	s.endpoints()
	s.reasons()
	s.configuration()
	s.feed()
	s.vips()
}

// scrape is one reading.
type scrape struct {
	*collector
	ch    chan<- prometheus.Metric
	set   *stats.Set
	count int
}

func (s *scrape) counter(name string, v uint64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.CounterValue, float64(v), labels...)
}

func (s *scrape) gauge(name string, v float64, labels ...string) {
	s.ch <- prometheus.MustNewConstMetric(s.descs[name], prometheus.GaugeValue, v, labels...)
}

func (s *scrape) flag(name string, v bool) {
	if v {
		s.gauge(name, 1)
	} else {
		s.gauge(name, 0)
	}
}

func (s *scrape) histogram(name string, d stats.Distribution, points int, labels ...string) {
	bounds := d.Cumulative(points)
	buckets := make(map[float64]uint64, len(bounds))
	for _, b := range bounds {
		buckets[float64(b.Nanoseconds)/1e9] = b.Count
	}
	s.ch <- prometheus.MustNewConstHistogram(s.descs[name], d.Count, float64(d.Sum)/1e9, buckets, labels...)
}

// classes writes a counter for each class. 1xx is rare, and shown once it is
// there.
func (s *scrape) classes(name string, t *stats.Totals, labels ...string) {
	for class := range stats.Class(stats.Classes) {
		if n := t.Requests[class]; n > 0 || class > 0 {
			s.counter(name, n, append(labels[:len(labels):len(labels)], class.String())...)
		}
	}
}

// each walks totals, and lets the permit go now and then.
func (s *scrape) each(totals iter.Seq[stats.Totals], write func(*stats.Totals)) {
	for t := range totals {
		if s.count++; s.count%pauseEvery == 0 {
			s.config.pause()
		}
		write(&t)
	}
}

func (s *scrape) node() {
	b := s.config.Build
	s.gauge(metricBuildInfo, 1, b.Version, b.Go, s.config.NodeID)
	s.gauge(metricExchanges, signed(s.set.Counter(stats.ExchangesOpen)))
	s.gauge(metricLoops, float64(s.set.Loops()))
	s.counter(metricLoopTurns, s.set.Counter(stats.Turns))
	s.counter(metricHandedOver, s.set.Counter(stats.ClientsHandedOver))
	s.counter(metricAcceptExhausted, s.set.Counter(stats.AcceptExhausted))
	s.histogram(metricLoopLate, s.set.Late(), finePoints)
	s.histogram(metricAcquire, s.set.Acquire(), finePoints)
	s.counter(metricRefusedClients, s.set.Counter(stats.ClientsOverLimit), "listener")
	s.counter(metricRefusedClients, s.set.Counter(stats.ClientsOverCeiling), "node")
	s.counter(metricRefusedClients, s.set.Counter(stats.ClientsOverShare), "client")
	s.counter(metricRefusedClients, s.set.Counter(stats.ClientsAtFault), "faults")
	s.counter(metricPacketsDropped, s.set.Counter(stats.PacketsDropped))
	s.counter(metricShed, s.set.Counter(stats.ClientsShed))
	s.counter(metricSplicedBytes, s.set.Counter(stats.SplicedBytes))
	s.state()
	if log := s.config.Log; log != nil {
		s.counter(metricLogLines, log.Written(), "written")
		s.counter(metricLogLines, log.Dropped(), "dropped")
	}
}

// state shows what the node's parts say of themselves.
func (s *scrape) state() {
	if s.config.Node == nil {
		return
	}
	n := s.config.Node()
	s.gauge(metricPressure, float64(n.Pressure))
	if n.MemoryLimit > 0 {
		s.gauge(metricMemoryLimit, float64(n.MemoryLimit))
	}
	s.gauge(metricBufferBytes, float64(n.BufferBytes))
	s.flag(metricDrained, n.Drained)
	s.counter(metricUnwritten, n.Unwritten)
	if !n.LastGood.IsZero() {
		s.gauge(metricLastGoodAge, time.Since(n.LastGood).Seconds())
	}
}

// signed shows a number that went below zero, while loops are read one after
// another, as what it is.
func signed(v uint64) float64 { return float64(int64(v)) }

func (s *scrape) listeners() {
	s.each(s.set.ByListener(), func(t *stats.Totals) {
		s.classes(metricRequests, t, t.Name)
		s.histogram(metricRequestDuration, t.Duration, finePoints, t.Name)
		s.counter(metricReceivedBytes, t.BytesIn, t.Name)
		s.counter(metricSentBytes, t.BytesOut, t.Name)
		s.counter(metricRefused, t.Refused, t.Name)
	})
	for c := range s.set.ClientConnections() {
		s.counter(metricClientsOpened, c.Opened, c.Name)
		s.gauge(metricClients, signed(c.Open), c.Name)
	}
}

func (s *scrape) routes() {
	s.each(s.set.ByRoute(), func(t *stats.Totals) {
		s.classes(metricRouteRequests, t, t.Name)
		s.histogram(metricRouteDuration, t.Duration, coarsePoints, t.Name)
		s.counter(metricRouteReceivedBytes, t.BytesIn, t.Name)
		s.counter(metricRouteSentBytes, t.BytesOut, t.Name)
		s.counter(metricRouteRetries, t.Retries, t.Name)
	})
}

func (s *scrape) upstreams() {
	s.each(s.set.ByUpstream(), func(t *stats.Totals) {
		s.classes(metricUpstreamRequests, t, t.Name)
		s.counter(metricUpstreamUnanswered, t.Unanswered, t.Name)
		s.histogram(metricUpstreamFirstByte, t.Duration, finePoints, t.Name)
	})
}

func (s *scrape) endpoints() {
	s.each(s.set.ByEndpoint(), func(t *stats.Totals) {
		s.classes(metricEndpointRequests, t, t.Parent, t.Name)
		s.counter(metricEndpointUnanswered, t.Unanswered, t.Parent, t.Name)
		s.counter(metricEndpointStopped, t.Stopped, t.Parent, t.Name)
	})
	for c := range s.set.ServerConnections() {
		s.counter(metricEndpointOpened, c.Opened, c.Parent, c.Name)
		s.counter(metricEndpointReused, c.Reused, c.Parent, c.Name)
		s.counter(metricEndpointFailed, c.Failed-min(c.TimedOut, c.Failed), c.Parent, c.Name, "refused")
		s.counter(metricEndpointFailed, c.TimedOut, c.Parent, c.Name, "timeout")
		s.gauge(metricEndpointConnections, signed(c.Open), c.Parent, c.Name)
	}
	t := s.config.Live()
	if t == nil || s.config.Endpoint == nil {
		return
	}
	n := 0
	for _, u := range t.Upstreams {
		for i := range u.Endpoints {
			if n++; n > maxEndpoints {
				return
			}
			load := s.config.Endpoint(u.Endpoints[i].Slot)
			s.gauge(metricEndpointInFlight, float64(load.InFlight), u.Name, u.Endpoints[i].Address)
			s.gauge(metricEndpointWaiting, float64(load.Waiting), u.Name, u.Endpoints[i].Address)
		}
	}
}

func (s *scrape) reasons() {
	for _, r := range exchange.Reasons() {
		s.counter(metricReasons, s.set.Reason(uint8(r)), r.String())
	}
	for r := http1.NoReason + 1; r.String() != "unknown"; r++ {
		s.counter(metricRefusals, s.set.Refusal(uint8(r)), r.String())
	}
	for _, r := range http2.Reasons() {
		s.counter(metricRefusalsHTTP2, s.set.RefusalHTTP2(uint8(r)), r.String())
	}
	for r := range secure.Result(secure.Results) {
		s.counter(metricHandshakes, s.set.Handshakes(false, uint8(r)), "client", r.String())
		s.counter(metricHandshakes, s.set.Handshakes(true, uint8(r)), "endpoint", r.String())
	}
}

func (s *scrape) configuration() {
	status := s.config.Status()
	s.gauge(metricConfigRevision, float64(status.Running.Revision))
	s.gauge(metricConfigWanted, float64(status.Wanted.Revision))
	s.gauge(metricConfigEpoch, float64(status.Running.Epoch))
	if !status.AppliedAt.IsZero() {
		s.gauge(metricConfigApplied, float64(status.AppliedAt.UnixMilli())/1e3)
	}
	s.gauge(metricConfigProblems, float64(len(status.Problems)))
	s.flag(metricConfigConnected, status.Connected)
	t := s.config.Live()
	if t == nil {
		return
	}
	s.flag(metricConfigDrift, status.Running.Digest != "" && t.Root.String() != status.Running.Digest)
	c := counts(t)
	s.gauge(metricConfigResources, float64(c.Listeners), "listener")
	s.gauge(metricConfigResources, float64(c.Routes), "route")
	s.gauge(metricConfigResources, float64(c.Upstreams), "upstream")
	s.gauge(metricConfigResources, float64(c.Endpoints), "endpoint")
	s.certificates(t)
}

func (s *scrape) feed() {
	if s.config.Feed == nil {
		return
	}
	f := s.config.Feed()
	s.counter(metricFeedStreams, f.Streams)
	s.counter(metricFeedUpdates, f.Updates)
	s.counter(metricFeedBytes, f.ConfigBytes)
	s.counter(metricFeedAnswers, f.Acks, "ack")
	s.counter(metricFeedAnswers, f.NacksPermanent, "nack_permanent")
	s.counter(metricFeedAnswers, f.NacksLocal, "nack_local")
	s.counter(metricFeedAnswers, f.NacksMismatch, "nack_base_mismatch")
	s.counter(metricFeedAnswers, f.NacksHeld, "nack_held")
	s.ch <- prometheus.MustNewConstMetric(s.descs[metricFeedCompileTotal], prometheus.CounterValue, f.PreparedDuration.Seconds())
	s.gauge(metricFeedCompileLatest, f.PreparedLast.Seconds())
}
