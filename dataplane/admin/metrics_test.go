package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestMetricsShowWhatWasCounted(t *testing.T) {
	f := newFixture(t)
	set := f.config.Stats
	web := set.Listeners.Acquire(stats.Key{Name: "web"})
	l := set.Loop(1)
	l.ClientOpened(web)
	l.Refused(web, 3)
	l.Add(stats.ClientsOverCeiling, 3)
	l.Add(stats.ClientsAtFault, 4)
	l.Add(stats.PacketsDropped, 5)
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
		`proxyfleet_messages_dropped_total 11`,
		`proxyfleet_packets_dropped_total 5`,
		`proxyfleet_memory_pressure 1`,
		`proxyfleet_memory_limit_bytes 1.073741824e+09`,
		`proxyfleet_buffer_bytes 4096`,
		`proxyfleet_drained 1`,
		`proxyfleet_last_known_good_age_seconds 60`,
		`proxyfleet_connections_refused_total{limit="node"} 3`,
		`proxyfleet_connections_refused_total{limit="faults"} 4`,
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
