package report

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
)

// update writes the golden files anew: go test ./report -update.
func update() bool { return flag.Lookup("update").Value.String() == "true" }

func TestMain(m *testing.M) {
	flag.Bool("update", false, "write the golden files")
	os.Exit(m.Run())
}

var defaults = Defaults{Rounds: 5, Round: 20 * time.Second, Turn: 5 * time.Second, Warmup: 2 * time.Second, Takes: 3*time.Hour + 54*time.Minute, AnswerBytes: 1024, FixedShare: 0.6}

// example is a run with something of everything: met, missed, equal, absent,
// failed, disturbed.
func example() *Report {
	cost := func(cpu, user, rate figure.Series) map[Key]figure.Series {
		return map[Key]figure.Series{
			CPU: cpu, User: user, System: {cpu[0] - user[0]}, Rate: rate,
			Busy: {0.99, 0.98}, Others: {0.01, 0.12}, LoadBusy: {0.80, 0.82},
		}
	}
	fixed := func(cpu, p99 figure.Series) map[Key]figure.Series {
		return map[Key]figure.Series{CPU: cpu, P50: {210}, P99: p99, Late: {90}, Busy: {0.6}, Others: {0}, LoadBusy: {0.5}}
	}
	with := func(m map[Key]figure.Series, k Key, v ...float64) map[Key]figure.Series {
		m[k] = v
		return m
	}
	return &Report{
		Started: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), Took: 90*time.Minute + 400*time.Millisecond,
		Machine: Machine{
			Processor: "Some Processor", Cores: 2, Memory: 24 << 30, Virtual: true, System: "Debian", Kernel: "6.18 amd64",
			ProxyCore: 0, LoadCore: 1, LogsOn: "tmpfs", SampleRate: "tick of 250 Hz",
		},
		Settings: Settings{
			Rounds: 2, Round: 20 * time.Second, Warmup: 2 * time.Second, Settle: time.Minute, IdleFrom: 1000, IdleTo: 15_000,
			MallocRounds: 1_000_000, SaturatedBy: "wrk", FixedShare: 0.6, AnswerBytes: 1024, OnlyScenarios: []string{Bare, GoProxies5k},
		},
		Programs: []Program{{Name: ourName, Version: "v1"}, {Name: nginx, Version: "1.22.1"}, {Name: caddy, Absent: "not installed"}},
		Scenarios: []Scenario{
			{ID: Bare, FixedRate: 41_234, Rows: []Row{
				{Name: ourName, Load: Saturated, Figures: cost(figure.Series{9.4, 9.6}, figure.Series{1.6, 1.7}, figure.Series{95_000, 96_000})},
				{Name: nginx, Load: Saturated, Figures: cost(figure.Series{10.6, 10.9}, figure.Series{2.6, 2.8}, figure.Series{91_000, 92_000})},
				{Name: caddy, Load: Saturated, Absent: "not installed"},
				{Name: ourName, Load: Fixed, Figures: fixed(figure.Series{13, 17}, figure.Series{900, 1100})},
				{Name: nginx, Load: Fixed, Figures: fixed(figure.Series{14, 16}, figure.Series{500, 700}), Failed: 1234, FirstFailure: "status: 502"},
			}},
			{ID: GoProxies5k, Rows: []Row{
				{Name: ourName, Load: Saturated, Figures: with(cost(figure.Series{15}, figure.Series{3}, figure.Series{60_000}), Peak, 30<<20), Failed: 1, FirstFailure: "reset"},
				{Name: goDefault, Load: Saturated, Figures: with(cost(figure.Series{150}, figure.Series{90}, figure.Series{6_000}), Peak, 400<<20)},
				{Name: goDefault, Load: Fixed, Absent: "it cannot bear that rate"},
			}},
			{ID: Features, Rows: []Row{
				{Name: RowBare, Load: Saturated, Figures: cost(figure.Series{10, 10.2}, figure.Series{2}, figure.Series{90_000})},
				{Name: RowLog, Load: Saturated, Figures: with(cost(figure.Series{10.3, 10.1}, figure.Series{2}, figure.Series{90_000}), Dropped, 7)},
				{Name: RowAll, Load: Saturated, Figures: with(cost(figure.Series{11.5, 11.6}, figure.Series{2}, figure.Series{90_000}), Dropped, 0)},
			}},
			{ID: Allocations, Rows: []Row{{Name: ourName, Load: Saturated, Figures: map[Key]figure.Series{Mallocs: {0.0042}, Pause: {812}, Counted: {2300}, Waited: {4100}}}}},
			{ID: IdleMemory, Rows: []Row{
				{Name: ourName, Load: None, Figures: map[Key]figure.Series{Idle: {268}}},
				{Name: nginx, Load: None, Figures: map[Key]figure.Series{Idle: {528}}},
			}},
		},
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if update() {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != string(got) {
		t.Errorf("%s differs (go test -update writes it anew):\n%s", path, got)
	}
}

func TestThePageTellsResults(t *testing.T) {
	page, err := Page(defaults, example())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "page.md", page)
}

func TestThePageOfSharedMachinesSaysSo(t *testing.T) {
	r := example()
	r.CI = true
	page, err := Page(defaults, r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "loosened by twice their slack.\n") || !strings.Contains(string(page), "| ≤ 1.10 |") {
		t.Errorf("%s", page)
	}
}

func TestResultsSurviveJSON(t *testing.T) {
	text, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	want, err := Page(defaults, example())
	if err != nil {
		t.Fatal(err)
	}
	got, err := Page(defaults, &r)
	if err != nil || string(got) != string(want) {
		t.Errorf("%v\n%s", err, got)
	}
}

// The committed page is what the committed results give; without results, it
// tells how to get them.
func TestTheCommittedPageIsWrittenByTheProgram(t *testing.T) {
	const dir = "../../../docs"
	var r *Report
	text, err := os.ReadFile(filepath.Join(dir, "PERFORMANCE.json"))
	if err == nil {
		r = &Report{}
		err = json.Unmarshal(text, r)
	}
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if r != nil && r.Settings.Smoke() != "" {
		t.Errorf("the committed results are of a smoke run: %s", r.Settings.Smoke())
	}
	want, err := Page(defaults, r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "PERFORMANCE.md"))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("docs/PERFORMANCE.md is not what its results give: run bin/bench/bench with --method or --from, and --page")
	}
}

func find(t *testing.T, r *Report, scenario string, load Load, key Key, of, than string) Judgement {
	t.Helper()
	for _, j := range r.Judge() {
		if j.Scenario == scenario && j.Load == load && j.Key == key && j.Of == of && j.Than == than {
			return j
		}
	}
	t.Fatalf("no bar for %s %s %s of %s and %s", scenario, load, key, of, than)
	return Judgement{}
}

func TestARatioMeetsItsBarOrMissesIt(t *testing.T) {
	for _, tt := range []struct {
		name     string
		scenario string
		load     Load
		key      Key
		of, than string
		verdict  Verdict
		value    float64
	}{
		{"less in each round", Bare, Saturated, CPU, ourName, nginx, Met, (9.4/10.6 + 9.6/10.9) / 2},
		{"less in one and more in another counts as 1", Bare, Fixed, CPU, ourName, nginx, Met, 1},
		{"more in each round", Bare, Fixed, P99, ourName, nginx, Missed, (900.0/500 + 1100.0/700) / 2},
		{"who is not there", Bare, Saturated, CPU, ourName, haproxy, NotMeasured, math.NaN()},
		{"gain", GoProxies5k, Saturated, CPU, ourName, goDefault, Met, 10},
		{"part of another's", GoProxies5k, Saturated, Peak, ourName, goDefault, Met, 0.075},
		{"a difference that is none", Features, Saturated, CPU, RowLog, RowBare, Met, 0},
		{"a difference", Features, Saturated, CPU, RowAll, RowBare, Missed, 1.45},
		{"lost lines", Features, Saturated, Dropped, RowLog, "", Missed, 7},
		{"alone, below", IdleMemory, None, Idle, ourName, "", Met, 268},
		{"a failed request", GoProxies5k, "", Failed, ourName, "", Missed, 1},
		{"a rival's failures are its own", Bare, "", Failed, ourName, "", Met, 0},
	} {
		j := find(t, example(), tt.scenario, tt.load, tt.key, tt.of, tt.than)
		same := math.Abs(j.Value-tt.value) < 1e-9 || math.IsNaN(j.Value) && math.IsNaN(tt.value)
		if j.Verdict != tt.verdict || !same {
			t.Errorf("%s: %s with %v, want %s with %v", tt.name, j.Verdict, j.Value, tt.verdict, tt.value)
		}
	}
}

// A figure of ours that a table shows has a bar, or is part of one that has.
func TestEveryFigureHasABar(t *testing.T) {
	free := map[Key]string{
		User: "part of the cost", System: "part of the cost", UserBytes: "part of the cost", SystemBytes: "part of the cost", Late: "the load's", Busy: "a share", Others: "not ours",
		LoadBusy: "the load's", LogBytes: "tells what is compared",
	}
	barred := map[string]map[Key]bool{}
	for _, b := range Bars() {
		id := b.Scenario + " " + string(b.Load)
		if barred[id] == nil {
			barred[id] = map[Key]bool{}
		}
		barred[id][b.Key] = true
	}
	// Where only ours take part, a rate says nothing that the cost does not.
	alone := map[string]bool{Routes: true, Features: true, IdleAndBusy: true}
	for _, d := range Definitions() {
		for load, keys := range d.Columns {
			for _, k := range keys {
				needless := alone[d.ID] && (k == Rate || k == P50) || goFixed(d.ID, load, k) || free[k] != ""
				if !needless && !barred[d.ID+" "+string(load)][k] {
					t.Errorf("%s, %s: %s has no bar", d.ID, load, k)
				}
			}
		}
	}
}

// goFixed: beside the Go proxies the tail is what is compared.
func goFixed(id string, load Load, k Key) bool {
	return strings.HasPrefix(id, "go-proxies") && load == Fixed && k == P50
}

func TestBarsNameScenariosAndRowsOnce(t *testing.T) {
	known := map[string]bool{}
	for _, d := range Definitions() {
		known[d.ID] = true
	}
	type id struct {
		scenario string
		load     Load
		key      Key
		of, than string
	}
	seen := map[id]bool{}
	for _, b := range Bars() {
		i := id{b.Scenario, b.Load, b.Key, b.Of, b.Than}
		if !known[b.Scenario] || seen[i] {
			t.Errorf("%+v: unknown or twice", i)
		}
		seen[i] = true
	}
}

func TestASmokeRunIsNamed(t *testing.T) {
	whole := Settings{Rounds: 5, Round: 20 * time.Second, Settle: time.Minute, IdleTo: 15_000, MallocRounds: 1_000_000}
	if why := whole.Smoke(); why != "" {
		t.Errorf("a whole run is called smoke: %s", why)
	}
	for name, spoil := range map[string]func(*Settings){
		"rounds": func(s *Settings) { s.Rounds = 4 }, "seconds": func(s *Settings) { s.Round = 19 * time.Second },
		"settle": func(s *Settings) { s.Settle = 0 }, "idle": func(s *Settings) { s.IdleTo = 2 },
		"requests": func(s *Settings) { s.MallocRounds = 1 },
	} {
		s := whole
		spoil(&s)
		if s.Smoke() == "" {
			t.Errorf("%s: %+v counts", name, s)
		}
	}
}

// byPlace compares scenarios by their places on the page.
func byPlace(a, b string) int {
	place := func(id string) int {
		return slices.IndexFunc(Definitions(), func(d Definition) bool { return d.ID == id })
	}
	return place(a) - place(b)
}

func TestARunGoesOnWithAnEarlierOneOfTheSame(t *testing.T) {
	earlier := example()
	r := &Report{Machine: earlier.Machine, Settings: earlier.Settings, Programs: earlier.Programs}
	if err := r.Continue(earlier); err != nil {
		t.Fatal(err)
	}
	again := r.Scenarios[0]
	count, took := len(r.Scenarios), r.Took-again.Took
	again.Took, again.FixedRate = time.Minute, 7
	r.Put(again)
	r.Put(Scenario{ID: Loss, Took: time.Minute})
	if len(r.Scenarios) != count+1 || r.Scenario(again.ID).FixedRate != 7 || r.Took != took+2*time.Minute || !r.Started.Equal(earlier.Started) {
		t.Errorf("%d scenarios after %d, took %v", len(r.Scenarios), count, r.Took)
	}
	if only := r.Settings.OnlyScenarios; len(only) != count+1 || !slices.Contains(only, Loss) || !slices.IsSortedFunc(only, byPlace) {
		t.Errorf("measured: %v", only)
	}
	for name, spoil := range map[string]func(*Report){
		"machine":  func(r *Report) { r.Machine.LoadCore++ },
		"system":   func(r *Report) { r.Machine.System = "Another" },
		"settings": func(r *Report) { r.Settings.Round++ },
		"rivals":   func(r *Report) { r.Programs = r.Programs[:1] },
	} {
		other := &Report{Machine: earlier.Machine, Settings: earlier.Settings, Programs: earlier.Programs}
		if spoil(other); other.Continue(earlier) == nil {
			t.Errorf("%s: a run of another is gone on with", name)
		}
	}
}

func TestScenariosOfAnotherVersionOfOursSaySo(t *testing.T) {
	earlier := example()
	r := &Report{
		Started: earlier.Started.AddDate(0, 0, 9), Machine: earlier.Machine, Settings: earlier.Settings,
		Programs: append([]Program{{Name: ourName, Version: "v2"}}, earlier.Programs[1:]...),
	}
	if err := r.Continue(earlier); err != nil {
		t.Fatal(err)
	}
	r.Put(Scenario{ID: Loss, Began: r.Started})
	page, err := Page(defaults, r)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(page), "Measured on 2026-11-20 with proxyfleet v1."); got != len(earlier.Scenarios) {
		t.Errorf("%d of %d say so", got, len(earlier.Scenarios))
	}
	if s := r.Scenario(Loss); s.Version != "v2" {
		t.Errorf("the new one says %q", s.Version)
	}
	// And once more.
	again := &Report{Started: r.Started.AddDate(0, 0, 1), Machine: r.Machine, Settings: r.Settings, Programs: append([]Program{{Name: ourName, Version: "v3"}}, r.Programs[1:]...)}
	if err := again.Continue(r); err != nil {
		t.Fatal(err)
	}
	if a, b := again.Scenario(Bare).Version, again.Scenario(Loss).Version; a != "v1" || b != "v2" {
		t.Errorf("after two runs: %q and %q", a, b)
	}
	again.Settings.Turn = 5 * time.Second
	if page, err = Page(defaults, again); err != nil || !strings.Contains(string(page), "with proxyfleet v2, each round in one turn.") {
		t.Errorf("%v\n%s", err, page)
	}
}

func TestScenariosOnAnotherProcessorOrKernelSaySo(t *testing.T) {
	earlier := example()
	r := &Report{Started: earlier.Started, Machine: earlier.Machine, Settings: earlier.Settings, Programs: earlier.Programs}
	r.Machine.Processor, r.Machine.Kernel, r.Machine.Memory = "Another", "9.9", 16<<30
	if err := r.Continue(earlier); err != nil {
		t.Fatal(err)
	}
	r.Put(Scenario{ID: Loss})
	page, err := Page(defaults, r)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(page), "with proxyfleet v1, on another machine (Some Processor, 24.0 GiB), under Linux "+earlier.Machine.Kernel+"."); got != len(earlier.Scenarios) {
		t.Errorf("%d of %d say so", got, len(earlier.Scenarios))
	}
	// Back on the first one it is those that were measured there who need not.
	again := &Report{Started: earlier.Started, Machine: earlier.Machine, Settings: earlier.Settings, Programs: earlier.Programs}
	if err := again.Continue(r); err != nil {
		t.Fatal(err)
	}
	if page, err = Page(defaults, again); err != nil || strings.Count(string(page), ", on another machine (Another, 16.0 GiB), under Linux 9.9.") != 1 || strings.Contains(string(page), ", under Linux "+earlier.Machine.Kernel) {
		t.Errorf("%v\n%s", err, page)
	}
}

func TestTheTurnsOfARoundMakeOneValue(t *testing.T) {
	row := Row{Figures: map[Key]figure.Series{CPU: {10, 12, 20, 22, 24}, Peak: {7}, P99: {1, 2}}}
	row.Join(2)
	if got := row.Figures; !slices.Equal(got[CPU], figure.Series{10, 12, 22}) || !slices.Equal(got[Peak], figure.Series{7}) || !slices.Equal(got[P99], figure.Series{1, 2}) {
		t.Errorf("%v", got)
	}
}

func TestNumbersAreReadable(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{thousands(0), "0"},
		{thousands(999.6), "1,000"},
		{thousands(1234567), "1,234,567"},
		{thousands(-1500), "-1,500"},
		{size(24 << 30), "24.0 GiB"},
		{size(30 << 20), "30.0 MiB"},
		{size(528), "528 B"},
		{percent(0.605), "60 %"},
		{words(20 * time.Second), "20 seconds"},
		{words(time.Second), "a second"},
		{words(1500 * time.Millisecond), "1.5s"},
		{cell(CPU, nil), "–"},
		{cell(CPU, figure.Series{1.004, 1.0}), "1.00"},
		{cell(CPU, figure.Series{1, 2}), "1.50 (1.00–2.00)"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
