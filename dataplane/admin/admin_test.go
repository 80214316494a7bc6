package admin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/dataplane/agent"
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a node in the middle of its life.
type fixture struct {
	config Config
	status Status
	tree   tree.Tree
	table  table.Table
	permit countingPermit
}

type countingPermit struct{ held, acquired atomic.Int32 }

func (p *countingPermit) Acquire() { p.held.Add(1); p.acquired.Add(1) }
func (p *countingPermit) Release() { p.held.Add(-1) }

type lines struct{}

func (lines) Written() uint64 { return 41 }
func (lines) Dropped() uint64 { return 2 }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{}
	documents, problems := resource.Decode([]byte(strings.Join([]string{
		"kind: Upstream\nname: u\nspec: {endpoints: [{address: 127.0.0.1:9001}]}",
		"kind: Listener\nname: web\nspec: {port: 8080, protocol: HTTP}",
	}, "\n---\n")), resource.DecodeOptions{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, d := range documents {
		canonical, err := resource.Canonical(d.Resource)
		if err != nil {
			t.Fatal(err)
		}
		f.tree = f.tree.Set(d.Key, canonical)
	}
	f.table = table.Table{
		Version: table.Version{Epoch: 3, Revision: 42},
		Root:    f.tree.Root(),
		Listeners: []table.Listener{{
			Name: "web", Port: 8080,
			Addresses: []table.Address{{}, {Kind: table.AddressLiteral, IP: netip.MustParseAddr("::1")}},
			TLS: &table.ListenerTLS{Certificates: []*table.Certificate{{
				Name: "site", Pair: tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Unix(1_900_000_000, 0)}},
			}}},
		}},
		Upstreams: []*table.Upstream{{Name: "u", Endpoints: []table.Endpoint{{Address: "127.0.0.1:9001", Slot: 5}}}},
		Routes:    7,
	}
	running := api.Version{Epoch: 3, Revision: 42, Digest: f.tree.Root().String()}
	f.status = Status{
		Source: "127.0.0.1:7401", Connected: true, Running: running, Wanted: running,
		AppliedAt: time.Unix(1_800_000_000, 0),
	}
	f.config = Config{
		NodeID: "node-a", Build: api.Build{Version: "v1", Go: "go1"},
		Stats:     stats.New(2, stats.Limits{}),
		Live:      func() *table.Table { return &f.table },
		Status:    func() Status { return f.status },
		Resources: func() tree.Tree { return f.tree },
		Feed:      func() feed.Counters { return feed.Counters{Acks: 9} },
		Node: func() NodeState {
			return NodeState{Pressure: pressure.High, MemoryLimit: 1 << 30, BufferBytes: 4096, Drained: true, LastGood: time.Now().Add(-time.Minute)}
		},
		VIPs: func() VIPState {
			return VIPState{
				Gossip: ":7946", ListRevision: 5, Expected: []string{"node-a", "node-b"},
				Agent: agent.State{Running: true, PID: 77, Report: &fleetv1.AgentReport{Members: []*fleetv1.AgentMember{{NodeId: "node-a", Flags: "eligible"}}}},
				Statuses: []*fleetv1.VipStatus{{
					Vip: "front", State: fleetv1.VipStatus_HOLDING, Holder: "node-a", Holds: true, Alive: 1, Expected: 2, Needed: 2,
					Policy: fleetv1.VirtualIP_AVAILABILITY, SinceUnixMs: 1_800_000_000_000,
				}},
			}
		},
		Endpoint: func(slot uint32) EndpointLoad { return EndpointLoad{InFlight: int(slot), Waiting: 1} },
		Log:      lines{},
		Permit:   &f.permit,
		Logger:   slog.New(slog.DiscardHandler),
	}
	return f
}

func (f *fixture) get(t *testing.T, path string, header ...string) (int, string) {
	t.Helper()
	s, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:7402"+path, nil)
	r.RemoteAddr = "127.0.0.1:40000"
	for i := 0; i+1 < len(header); i += 2 {
		switch header[i] {
		case "Host":
			r.Host = header[i+1]
		case "Remote":
			r.RemoteAddr = header[i+1]
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.Handler(true).ServeHTTP(w, r)
	if held := f.permit.held.Load(); held != 0 {
		t.Errorf("%s: the permit is held %d times afterwards", path, held)
	}
	return w.Code, w.Body.String()
}

func TestANodeIsReadyWithAConfigurationAndNoFailingCheck(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fixture)
		want   int
		text   string
	}{
		{"a node with a configuration", func(*fixture) {}, 200, `"revision 42"`},
		{"before the first one", func(f *fixture) { f.status.Running = api.Version{} }, 503, "none has arrived"},
		{"a check that fails", func(f *fixture) {
			f.config.Checks = []Check{{"drain", func() (bool, string) { return false, "the node drains" }}}
		}, 503, "the node drains"},
		{"without a control plane", func(f *fixture) { f.status.Connected = false }, 200, "revision 42"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			tt.change(f)
			code, body := f.get(t, "/readyz")
			if code != tt.want || !strings.Contains(body, tt.text) {
				t.Errorf("%d %s, want %d with %s", code, body, tt.want, tt.text)
			}
			if code, _ := f.get(t, "/healthz"); code != 200 {
				t.Errorf("/healthz: %d, want 200", code)
			}
		})
	}
}

func TestTheConfigurationPageTellsWhatRunsAndWhatIsWanted(t *testing.T) {
	f := newFixture(t)
	f.status.Wanted.Revision = 43
	f.status.Problems = []resource.Problem{{Kind: "Route", Name: "r", Expected: "an Upstream"}}
	code, body := f.get(t, "/config")
	var got Live
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatal(code, err, body)
	}
	if got.Node != "node-a" || got.Running.Revision != 42 || got.Wanted.Revision != 43 || len(got.Problems) != 1 ||
		got.Attested != f.tree.Root().String() || got.Drift || got.Resources != nil {
		t.Errorf("got %s", body)
	}
	if want := []string{"NODE:8080", "[::1]:8080"}; !slices.Equal(got.Listeners[0].Addresses, want) {
		t.Errorf("addresses %v, want %v", got.Listeners[0].Addresses, want)
	}
	if got.Counts != (LiveCounts{Listeners: 1, Routes: 7, Upstreams: 1, Endpoints: 1}) {
		t.Errorf("counts %+v", got.Counts)
	}
}

func TestVirtualIPsAreShown(t *testing.T) {
	f := newFixture(t)
	code, body := f.get(t, "/vips")
	var got LiveVIPs
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Fatal(code, err, body)
	}
	if len(got.VIPs) != 1 || got.VIPs[0].Name != "front" || got.VIPs[0].State != api.VIPHolding || got.VIPs[0].Policy != "AVAILABILITY" ||
		got.Agent == nil || got.Agent.PID != 77 || len(got.Members) != 1 || got.ListRevision != 5 {
		t.Errorf("got %s", body)
	}
	_, metrics := f.get(t, "/metrics")
	for _, want := range []string{`proxyfleet_vip_held{vip="front"} 1`, "proxyfleet_members_expected 2", "proxyfleet_vip_agent_running 1"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	f.config.VIPs = func() VIPState { return VIPState{Off: "no key"} }
	if _, body := f.get(t, "/vips"); !strings.Contains(body, "no key") {
		t.Errorf("got %s", body)
	}
	f.config.VIPs = nil
	if code, _ := f.get(t, "/vips"); code != http.StatusNotImplemented {
		t.Errorf("status %d of a node without a fleet", code)
	}
}

func TestDriftIsShown(t *testing.T) {
	f := newFixture(t)
	f.table.Root = tree.Sum([]byte("something else"))
	if _, body := f.get(t, "/config"); !strings.Contains(body, `"drift": true`) {
		t.Errorf("got %s", body)
	}
	if _, body := f.get(t, "/metrics"); !strings.Contains(body, "proxyfleet_config_drift 1") {
		t.Error("no drift in the metrics")
	}
}

func TestConfigFullReadsBackAsItWasApplied(t *testing.T) {
	f := newFixture(t)
	_, yaml := f.get(t, "/config?full&format=yaml")
	documents, problems := resource.Decode([]byte(yaml), resource.DecodeOptions{})
	if len(problems) > 0 || len(documents) != 2 {
		t.Fatalf("%d documents, %v, of %s", len(documents), problems, yaml)
	}
	if documents[0].Key.Kind != "Listener" || documents[1].Key.Kind != "Upstream" {
		t.Errorf("not in order: %s", yaml)
	}
	again := tree.Tree{}
	for _, d := range documents {
		canonical, err := resource.Canonical(d.Resource)
		if err != nil {
			t.Fatal(err)
		}
		again = again.Set(d.Key, canonical)
	}
	if again.Root() != f.tree.Root() {
		t.Errorf("another digest: %s", yaml)
	}
	if _, byHeader := f.get(t, "/config?full", "Accept", "application/yaml"); byHeader != yaml {
		t.Errorf("by the Accept field: %s", byHeader)
	}
	var live Live
	if _, body := f.get(t, "/config?full"); json.Unmarshal([]byte(body), &live) != nil || len(live.Resources) != 2 {
		t.Errorf("as JSON: %s", body)
	}
	f.config.Resources = nil
	if code, _ := f.get(t, "/config?full"); code != http.StatusNotImplemented {
		t.Errorf("without resources: %d, want 501", code)
	}
}

func TestMetricsShowWhatWasCounted(t *testing.T) {
	f := newFixture(t)
	set := f.config.Stats
	web := set.Listeners.Acquire(stats.Key{Name: "web"})
	l := set.Loop(1)
	l.ClientOpened(web)
	l.Refused(web, 3)
	l.Add(stats.ClientsOverCeiling, 3)
	l.Add(stats.ClientsShed, 2)
	l.Add(stats.SplicedBytes, 7)
	l.Finished(&stats.Finish{
		Listener: web,
		Route:    set.Routes.Acquire(stats.Key{Name: "api"}),
		Upstream: set.Upstreams.Acquire(stats.Key{Name: "u"}),
		Endpoint: set.Endpoints.Acquire(stats.Key{Parent: "u", Name: "127.0.0.1:9001"}),
		Status:   200, Forwarded: true, Answered: true, Duration: 3e6, FirstByte: 2e6, BytesOut: 1024,
	})
	_, body := f.get(t, "/metrics")
	for _, want := range []string{
		`proxyfleet_build_info{go="go1",node="node-a",version="v1"} 1`,
		`proxyfleet_requests_total{code_class="2xx",listener="web"} 1`,
		`proxyfleet_requests_total{code_class="5xx",listener="web"} 0`,
		`proxyfleet_request_duration_seconds_sum{listener="web"} 0.003`,
		`proxyfleet_request_duration_seconds_bucket{listener="web",le="+Inf"} 1`,
		`proxyfleet_sent_bytes_total{listener="web"} 1024`,
		`proxyfleet_refused_messages_total{listener="web"} 1`,
		`proxyfleet_client_connections{listener="web"} 1`,
		`proxyfleet_route_requests_total{code_class="2xx",route="api"} 1`,
		`proxyfleet_upstream_first_byte_seconds_count{upstream="u"} 1`,
		`proxyfleet_endpoint_requests_total{code_class="2xx",endpoint="127.0.0.1:9001",upstream="u"} 1`,
		`proxyfleet_endpoint_requests_in_flight{endpoint="127.0.0.1:9001",upstream="u"} 5`,
		`proxyfleet_answers_by_reason_total{reason="no_route"} 0`,
		`proxyfleet_codec_refusals_total{reason="bad_target"} 1`,
		`proxyfleet_access_log_lines_total{result="dropped"} 2`,
		`proxyfleet_memory_pressure 1`,
		`proxyfleet_memory_limit_bytes 1.073741824e+09`,
		`proxyfleet_buffer_bytes 4096`,
		`proxyfleet_drained 1`,
		`proxyfleet_last_known_good_age_seconds 60`,
		`proxyfleet_connections_refused_total{limit="node"} 3`,
		`proxyfleet_connections_shed_total 2`,
		`proxyfleet_spliced_bytes_total 7`,
		`proxyfleet_config_revision 42`,
		`proxyfleet_config_resources{kind="route"} 7`,
		`proxyfleet_feed_answers_total{result="ack"} 9`,
		`go_goroutines `,
		`process_start_time_seconds `,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if f.permit.acquired.Load() < 2 {
		t.Error("the permit was not let go between")
	}
}

func TestMetricsAreReadWhereARouteIsCalledAsThoseWithoutASeriesAre(t *testing.T) {
	f := newFixture(t)
	set := stats.New(1, stats.Limits{Routes: 3})
	f.config.Stats = set
	for _, name := range []string{"a", stats.Other, "b", "c", "d"} {
		set.Loop(0).Finished(&stats.Finish{Route: set.Routes.Acquire(stats.Key{Name: name}), Status: 200})
	}
	code, body := f.get(t, "/metrics")
	if want := `proxyfleet_route_requests_total{code_class="2xx",route="other"} 3`; code != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("%d, and no %s: %.200s", code, want, body)
	}
}

// Every metric is described, and what is described is used.
func TestEveryMetricAppears(t *testing.T) {
	f := newFixture(t)
	set := f.config.Stats
	slot := set.Endpoints.Acquire(stats.Key{Parent: "u", Name: "e"})
	set.Loop(0).EndpointOpened(slot)
	set.Loop(0).Finished(&stats.Finish{Status: 200, Forwarded: true, Answered: true})
	set.Loop(0).ClientOpened(0)
	_, body := f.get(t, "/metrics")
	for _, d := range described {
		if !regexp.MustCompile(`(?m)^` + d.name + `(_count)?[{ ]`).MatchString(body) {
			t.Errorf("%s never appears", d.name)
		}
	}
}

func TestHistogramBucketsAreCumulativeAndSeconds(t *testing.T) {
	f := newFixture(t)
	web := f.config.Stats.Listeners.Acquire(stats.Key{Name: "web"})
	for _, d := range []time.Duration{time.Millisecond, 10 * time.Millisecond, time.Second, time.Hour} {
		f.config.Stats.Loop(0).Finished(&stats.Finish{Listener: web, NoRoute: true, Status: 200, Duration: int64(d)})
	}
	_, body := f.get(t, "/metrics")
	last := -1.0
	seen := 0
	for _, m := range regexp.MustCompile(`request_duration_seconds_bucket\{listener="web",le="([^"]*)"\} (\d+)`).FindAllStringSubmatch(body, -1) {
		var count, le float64
		fmt.Sscan(m[2], &count)
		if fmt.Sscan(m[1], &le); m[1] == "+Inf" {
			le = 1e9
		}
		if count < last {
			t.Errorf("le=%s: %v after %v", m[1], count, last)
		}
		for _, step := range []struct{ above, want float64 }{{0.00125, 1}, {0.0125, 2}, {1.25, 3}} {
			if le > step.above && count < step.want {
				t.Errorf("le=%s: %v, want at least %v", m[1], count, step.want)
			}
		}
		last = count
		seen++
	}
	if seen < 80 || last != 4 {
		t.Errorf("%d buckets, %v in the last; want 85 or so and 4", seen, last)
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		name, path string
		header     []string
		want       int
	}{
		{"a page of another name", "/config", []string{"Host", "evil.example:7402"}, 403},
		{"an address", "/config", []string{"Host", "[::1]:7402"}, 200},
		{"localhost", "/config", []string{"Host", "localhost"}, 200},
		{"profiles from here", "/debug/pprof/", nil, 200},
		{"profiles from elsewhere", "/debug/pprof/", []string{"Remote", "192.0.2.1:1"}, 403},
		{"commands from elsewhere", "/debug/pprof/cmdline", []string{"Remote", "192.0.2.1:1"}, 403},
		{"other paths", "/", nil, 404},
	} {
		if code, body := f.get(t, tt.path, tt.header...); code != tt.want {
			t.Errorf("%s: %d %s, want %d", tt.name, code, body, tt.want)
		}
	}
}

func TestListenRefusesTheWorld(t *testing.T) {
	if l, err := Listen(t.Context(), "0.0.0.0:0", false); err == nil {
		l.Close()
		t.Error("listens everywhere without --insecure")
	}
	for i, address := range []string{"127.0.0.1:0", "127.0.0.11:0"} {
		l, err := Listen(t.Context(), address, false)
		if err != nil && i == 0 {
			t.Fatal(err)
		}
		if err != nil {
			t.Skip("this system has one loopback address alone: ", err)
		}
		l.Close()
	}
	l, err := Listen(t.Context(), "0.0.0.0:0", true)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestRunServesUntilTheContextEnds(t *testing.T) {
	f := newFixture(t)
	s, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Listen(ctx, "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + l.Addr().String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("still listening")
	}
}

func TestTooManyAnswersAreRefused(t *testing.T) {
	f := newFixture(t)
	s, err := New(f.config)
	if err != nil {
		t.Fatal(err)
	}
	for range maxAnswers {
		s.slots <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.Handler(true).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d, want 503", w.Code)
	}
}

// TestWhoDoesNotReadAnAnswerKeepsNobodyFromTheirs for longer than it may take.
func TestWhoDoesNotReadAnAnswerKeepsNobodyFromTheirs(t *testing.T) {
	s, err := New(newFixture(t).config)
	if err != nil {
		t.Fatal(err)
	}
	s.answerTime = 50 * time.Millisecond
	begun := make(chan struct{}, maxAnswers)
	server := httptest.NewServer(s.bounded(func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		for _, err := w.Write(make([]byte, 1<<20)); err == nil; { // more than any socket takes
			_, err = w.Write(make([]byte, 1<<20))
		}
	}))
	t.Cleanup(server.Close)
	for range maxAnswers {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		<-begun
	}
	for range maxAnswers {
		select {
		case s.slots <- struct{}{}:
		case <-time.After(10 * time.Second):
			t.Fatal("an answer that nobody reads is kept")
		}
	}
}

func TestTheFeedsStateIsShownAsItIs(t *testing.T) {
	root := tree.Sum([]byte("x"))
	got := FeedStatus(func() feed.State {
		return feed.State{ControlPlane: "cp", Connected: true, Running: tree.Version{Epoch: 1, Revision: 2, Root: root}}
	})()
	if got.Source != "cp" || got.Running != (api.Version{Epoch: 1, Revision: 2, Digest: root.String()}) || got.Wanted != (api.Version{}) {
		t.Errorf("got %+v", got)
	}
}

func BenchmarkScrapeOf4000Routes(b *testing.B) {
	set := stats.New(2, stats.Limits{})
	for i := range 4000 {
		set.Loop(i % 2).Finished(&stats.Finish{
			Route: set.Routes.Acquire(stats.Key{Name: fmt.Sprint("route-", i)}), Status: 200, Duration: 1e6,
		})
	}
	s, err := New(Config{
		Stats: set, Live: func() *table.Table { return nil }, Status: func() Status { return Status{} },
	})
	if err != nil {
		b.Fatal(err)
	}
	handler := s.Handler(true)
	size := 0
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/metrics", nil))
		size = w.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes")
}

// What operators look up stands in the reference.
func TestTheReferenceNamesEveryMetricReasonAndResult(t *testing.T) {
	text := settingstest.Page(t, "../../docs/REFERENCE.md")
	for _, d := range described {
		row := fmt.Sprintf("| `%s` | %s | %s |", d.name, strings.Join(d.labels, ", "), strings.TrimSuffix(d.help, "."))
		if !strings.Contains(text, row) {
			t.Errorf("docs/REFERENCE.md has no row\n%s", row)
		}
	}
	for _, r := range exchange.Reasons() {
		if row := fmt.Sprintf("| `%s` | %d |", r, r.Status()); !strings.Contains(text, row) {
			t.Errorf("docs/REFERENCE.md has no row that begins with\n%s", row)
		}
	}
	_, results, _ := strings.Cut(text, "\n| result | meaning |\n")
	results, _, _ = strings.Cut(results, "\n\n")
	for r := range secure.Result(secure.Results) {
		if !strings.Contains(results, "`"+r.String()+"`") {
			t.Errorf("docs/REFERENCE.md does not tell the result %s of handshakes", r)
		}
	}
}
