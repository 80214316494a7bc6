package measure

import (
	"context"
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

func TestARunTakesWhatItsRoundsAndWaitsAddUpTo(t *testing.T) {
	c := Config{IdleTo: 15_000, Rounds: 5, Round: 20 * time.Second, Warmup: 2 * time.Second, Settle: time.Minute}
	whole := Takes(c)
	c.Settle = 0
	if waits := whole - Takes(c); waits != 6*time.Minute {
		t.Errorf("three scenarios wait for %v, want two minutes each", waits)
	}
	rounds := Takes(c) - c.Round // one in which pauses are traced
	c.Rounds *= 2
	if twice := Takes(c) - c.Round; twice != 2*rounds {
		t.Errorf("twice the rounds take %v instead of %v", twice, rounds)
	}
	// Bare alone: four proxies, by both loads.
	if bare := 2 * 4 * 5 * 22 * time.Second; rounds < bare {
		t.Errorf("all rounds take %v, those of one scenario %v", rounds, bare)
	}
}

func TestWhatWrkSaysIsRead(t *testing.T) {
	const good = `Running 4s test @ http://127.91.1.2:8080/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   697.63us  177.88us   8.06ms   94.15%
    Req/Sec    92.23k     6.13k   98.92k    92.50%
  367183 requests in 4.00s, 395.02MB read
Requests/sec:  91780.40
`
	for _, tt := range []struct {
		text     string
		requests uint64
		failed   uint64
		detail   string
	}{
		{good, 367183, 0, ""},
		{strings.Replace(good, "Requests/sec", "  Non-2xx or 3xx responses: 12\nRequests/sec", 1), 367183, 12, "Non-2xx or 3xx responses: 12"},
		{
			strings.Replace(good, "Requests/sec", "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 5\nRequests/sec", 1),
			367183, 4326, "Non-2xx or 3xx responses: 5; Socket errors: connect 1, read 20, write 300, timeout 4000",
		},
	} {
		r, err := parseWrk(tt.text)
		if err != nil || r.Requests != tt.requests || r.Failed != tt.failed || r.Detail != tt.detail {
			t.Errorf("%+v, %v; want %+v", r, err, tt)
		}
	}
	if _, err := parseWrk("unable to connect to 127.91.1.2:8080 Connection refused\n"); err == nil {
		t.Error("no requests, and no error")
	}
}

func TestWhatH2loadSaysIsRead(t *testing.T) {
	const good = `finished in 2.00s, 100.50 req/s, 1.00KB/s
requests: 201 total, 210 started, 201 done, 201 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 201 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.12KB (2173) total, 1.00KB (1024) headers (space savings 53.85%), 1.00KB (1024) data
`
	for _, tt := range []struct {
		text     string
		requests uint64
		failed   uint64
	}{
		{good, 201, 0},
		// A status that is wrong counts once, where it is told.
		{strings.NewReplacer("201 succeeded, 0 failed", "198 succeeded, 3 failed", "201 2xx, 0 3xx, 0 4xx, 0 5xx", "198 2xx, 1 3xx, 0 4xx, 2 5xx").Replace(good), 198, 3},
		{strings.Replace(good, "0 errored, 0 timeout", "8 errored, 1 timeout", 1), 201, 9},
	} {
		r, err := parseH2load(tt.text)
		if err != nil || r.Requests != tt.requests || r.Failed != tt.failed || (r.Detail == "") != (r.Failed == 0) {
			t.Errorf("%+v, %v; want %+v", r, err, tt)
		}
	}
	if _, err := parseH2load("client could not connect to host\n"); err == nil {
		t.Error("no requests, and no error")
	}
}

func TestMetricsAreRead(t *testing.T) {
	m := parseMetrics("# HELP a b\na 1\n" + metricDropped + " 7\nb{x=\"y z\"} 1.5e+06\nbad\n\n")
	if len(m) != 3 || m["a"] != 1 || m[metricDropped] != 7 || m[`b{x="y z"}`] != 1.5e6 {
		t.Error(m)
	}
}

func TestHeapStatisticsAreRead(t *testing.T) {
	h, err := parseHeap("heap profile: 1: 2 [3: 4] @ heap/1048576\n\n# runtime.MemStats\n# Mallocs = 8869\n# Frees = 660\n# PauseNs = [30 40 0 0]\n# NumGC = 2\n")
	if err != nil || h.mallocs != 8869 || h.collections != 2 || h.longest(0) != 40 || h.longest(2) != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	for _, text := range []string{"", "# Mallocs = x\n# PauseNs = [1]\n# NumGC = 1\n"} {
		if h, err := parseHeap(text); err == nil {
			t.Errorf("%q was read as %+v", text, h)
		}
	}
}

// Pauses are a ring, which may have gone round since.
func TestOnlyPausesOfTheTimeCount(t *testing.T) {
	h := heap{collections: 6, pauses: []uint64{50, 60, 3, 4}} // of collections 5, 6, 3, 4
	for after, want := range map[uint64]uint64{6: 0, 5: 60, 4: 60, 3: 60, 0: 60} {
		if got := h.longest(after); got != want {
			t.Errorf("after %d: %d, want %d", after, got, want)
		}
	}
	h = heap{collections: 4, pauses: []uint64{90, 2, 3, 4}}
	if got := h.longest(1); got != 4 {
		t.Errorf("the first collection counts: %d", got)
	}
}

func TestFiguresAreOfTheTimeBetweenTwoSamples(t *testing.T) {
	start := time.Unix(0, 0)
	before := sample{
		at: start, done: 1000, usage: procfs.Usage{User: time.Second, System: 2 * time.Second},
		processors: map[int]procfs.Processor{0: {Busy: 100, Steal: 5}, 1: {Busy: 50}},
	}
	after := sample{
		at: start.Add(2 * time.Second), done: 101_000, usage: procfs.Usage{User: 1200 * time.Millisecond, System: 3 * time.Second},
		processors: map[int]procfs.Processor{0: {Busy: 240, Steal: 15}, 1: {Busy: 150}},
	}
	f := map[report.Key]figure.Series{}
	if err := before.figures(f, after, 0, 1, false); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[report.Key]float64{
		report.CPU: 12, report.User: 2, report.System: 10, report.Rate: 50_000,
		report.Busy: 0.6, report.Others: 0.15, report.LoadBusy: 0.5,
	} {
		if got := f[k]; len(got) != 1 || math.Abs(got[0]-want) > 1e-9 {
			t.Errorf("%s: %v, want %v", k, got, want)
		}
	}
	// A hundred thousand of bytes in place of requests.
	if err := before.figures(f, after, 0, 1, true); err != nil {
		t.Fatal(err)
	}
	const gib = 100_000.0 / (1 << 30)
	for k, want := range map[report.Key]float64{
		report.CPUBytes: 1.2 / gib, report.UserBytes: 0.2 / gib, report.SystemBytes: 1 / gib, report.Throughput: gib / 2,
	} {
		if got := f[k]; len(got) != 1 || math.Abs(got[0]/want-1) > 1e-9 {
			t.Errorf("%s: %v, want %v", k, got, want)
		}
	}
	if err := after.figures(f, after, 0, 1, false); err == nil {
		t.Error("no request, and no error")
	}
}

func TestTheSlowestOfThoseThatCountSetsThePace(t *testing.T) {
	s := &report.Scenario{}
	var proxies []*proxy
	for _, p := range []struct {
		name rivals.Name
		rate float64
		pace bool
	}{{rivals.Proxyfleet, 95_000, true}, {rivals.Nginx, 90_000, true}, {rivals.Caddy, 18_000, false}} {
		proxies = append(proxies, &proxy{contender: plain(p.name, p.pace)})
		s.Rows = append(s.Rows, report.Row{Name: string(p.name), Load: report.Saturated, Figures: map[report.Key]figure.Series{report.Rate: {p.rate}}})
	}
	if got := fixedRate(s, proxies); got != 54_000 {
		t.Errorf("%v, want 60 %% of 90,000", got)
	}
	if got := fixedRate(s, nil); got != 0 {
		t.Errorf("a rate of %v for nobody", got)
	}
}

func TestEveryScenarioHasAPlan(t *testing.T) {
	planned := plans(15_000)
	for _, d := range report.Definitions() {
		p, ok := planned[d.ID]
		if !ok {
			if d.ID != report.Allocations && d.Columns[report.None] == nil && d.Columns[report.Pages] == nil {
				t.Errorf("%s has none", d.ID)
			}
			continue
		}
		rows := map[string]bool{}
		for _, c := range p.contenders {
			if rows[c.row] || c.load.Count() < 1 {
				t.Errorf("%s: %+v", d.ID, c)
			}
			rows[c.row] = true
		}
		if _, fixed := d.Columns[report.Fixed]; fixed != p.fixed {
			t.Errorf("%s: rounds at a fixed rate %v, columns for them %v", d.ID, p.fixed, fixed)
		}
		for _, b := range report.Bars() {
			if b.Scenario == d.ID && (!rows[b.Of] || b.Than != "" && !rows[b.Than]) {
				t.Errorf("%s: a bar of %q and %q", d.ID, b.Of, b.Than)
			}
		}
	}
}

func TestConfigurationsThatMakeNoSenseAreRefused(t *testing.T) {
	if online() < 2 {
		t.Skip("one processor: everything is refused")
	}
	good := Config{Rounds: 1, Round: time.Second, IdleFrom: 1, IdleTo: 2, LoadCore: 1}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"rounds": func(c *Config) { c.Rounds = 0 }, "round": func(c *Config) { c.Round = 0 },
		"idle": func(c *Config) { c.IdleTo = 1 }, "many": func(c *Config) { c.IdleTo = 60_000 },
		"cores": func(c *Config) { c.LoadCore = 0 }, "only": func(c *Config) { c.Only = []string{"bear"} },
	} {
		c := good
		spoil(&c)
		if err := c.check(); err == nil {
			t.Errorf("%s: %+v was taken", name, c)
		}
	}
}

func TestAddressesAreLoopbackAndDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, pid := range []int{1, 255, 256, 4_194_304} {
		n := newNetwork(pid)
		for range 100 {
			a := n.address()
			if !a.Addr().IsLoopback() || a.Addr().As4()[1] < 64 || a.Addr().As4()[1] > 127 {
				t.Fatal(a)
			}
			if pid == 1 && seen[a.String()] {
				t.Fatal(a, "twice")
			}
			seen[a.String()] = true
		}
	}
}

func TestReasonsAreOneLine(t *testing.T) {
	got := brief("it has ended\n  (exit status 1): " + strings.Repeat("é", 400) + ".")
	if strings.ContainsAny(got, "\n") || len(got) > 310 || !strings.HasPrefix(got, "it has ended (exit") {
		t.Errorf("%q", got)
	}
}

func TestARoundIsMadeOfTurnsUnlessItsConnectionsTakeLongToBegin(t *testing.T) {
	for _, tt := range []struct {
		turn        time.Duration
		connections int
		want        int
	}{
		{5 * time.Second, 64, 4},
		{5 * time.Second, 1000, 1},
		{0, 64, 1},
		{time.Minute, 64, 1},
		{6 * time.Second, 64, 3},
	} {
		c := Config{Round: 20 * time.Second, Turn: tt.turn}
		if got := c.turns(tt.connections); got != tt.want {
			t.Errorf("turns of %v with %d connections: %d, want %d", tt.turn, tt.connections, got, tt.want)
		}
	}
}

// TestAProgramThatIsCutShortHasNoVersion: that the run has ended is what is told.
func TestAProgramThatIsCutShortHasNoVersion(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := version(ctx, "/bin/sleep", "60", regexp.MustCompile(`v(\d)`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
