package report

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
)

// Key names a figure, with its unit.
type Key string

// The figures.
const (
	CPU      Key = "cpu_us"              // processor time per request
	User     Key = "user_us"             // its part in user mode
	System   Key = "system_us"           // its part in the kernel
	Rate     Key = "requests_s"          // requests per second
	P50      Key = "p50_us"              // latency of the open loop
	P95      Key = "p95_us"              // of the objects of pages
	P99      Key = "p99_us"              // of the open loop
	Late     Key = "late_p99_us"         // by how much the load was late itself
	Peak     Key = "peak_bytes"          // resident memory
	Idle     Key = "idle_bytes"          // of one idle connection
	Mallocs  Key = "mallocs"             // per request
	Pause    Key = "gc_pause_us"         // the longest
	Counted  Key = "gc_pause_counted_us" // as the runtime counts it
	Waited   Key = "gc_waited_us"        // the loop's longest wait for a processor meanwhile
	Dropped  Key = "log_dropped"         // lines of the access log
	LogBytes Key = "log_bytes"           // of a request
	Busy     Key = "proxy_busy"          // share of its core that the proxy used
	Others   Key = "others_busy"         // share of that core that others used
	LoadBusy Key = "load_busy"           // share of the other core that was used

	CPUBytes    Key = "cpu_s_gib"    // processor time per GiB of bodies
	UserBytes   Key = "user_s_gib"   // its part in user mode
	SystemBytes Key = "system_s_gib" // its part in the kernel
	Throughput  Key = "gib_s"        // GiB of bodies per second
)

// Load is how requests came.
type Load string

// The loads.
const (
	// Saturated: as many as the proxy can, from a closed loop.
	Saturated Load = "saturated"
	// Fixed: at a rate that all of a scenario can bear, from an open loop.
	Fixed Load = "fixed"
	// Pages: clients open one page after another.
	Pages Load = "pages"
	// None: nothing was sent while it was measured.
	None Load = "none"
)

// Row is what one proxy did under one load.
type Row struct {
	Name    string                `json:"name"`
	Load    Load                  `json:"load"`
	Figures map[Key]figure.Series `json:"figures,omitempty"`
	Failed  uint64                `json:"failed"`
	// FirstFailure tells more of one.
	FirstFailure string `json:"first_failure,omitempty"`
	// Absent says why there are no figures.
	Absent string `json:"absent,omitempty"`
}

// Scenario is one comparison.
type Scenario struct {
	ID string `json:"id"`
	// FixedRate is that of the open loop, in requests per second; 0: there was none.
	FixedRate float64       `json:"fixed_rate,omitempty"`
	Rows      []Row         `json:"rows"`
	Took      time.Duration `json:"took_ns"`
	// Began is when it was measured, and Version with which proxyfleet.
	Began   time.Time `json:"began,omitzero"`
	Version string    `json:"version,omitempty"`
	// Machine is on which; nil: that of the report.
	Machine *Machine `json:"machine,omitempty"`
	// Turn is that of the settings with which it was measured.
	Turn time.Duration `json:"turn_ns,omitempty"`
}

// Join makes one value of each figure's values since a round began: their mean.
func (r *Row) Join(round int) {
	for k, s := range r.Figures {
		if len(s) > round {
			r.Figures[k] = append(s[:round], s[round:].Mean())
		}
	}
}

// Row finds a row; nil: it is not there or has no figures.
func (s *Scenario) Row(name string, load Load) *Row {
	for i := range s.Rows {
		if r := &s.Rows[i]; r.Name == name && r.Load == load && r.Absent == "" {
			return r
		}
	}
	return nil
}

// Program is a program that took part, or did not.
type Program struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Absent  string `json:"absent,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	Processor  string `json:"processor"`
	Cores      int    `json:"cores"`
	Memory     uint64 `json:"memory_bytes"`
	Virtual    bool   `json:"virtual"`
	System     string `json:"system"`
	Kernel     string `json:"kernel"` // and TCP's congestion control
	ProxyCore  int    `json:"proxy_core"`
	LoadCore   int    `json:"load_core"`
	LogsOn     string `json:"logs_on"`
	SampleRate string `json:"sample_rate"`
}

// alike says whether ratios that were taken on both may stand on one page: they were
// taken in the same way. Processor, memory and kernel may be others, of which each scenario
// tells.
func (m Machine) alike(other Machine) bool {
	m.Processor, m.Memory, m.Kernel = other.Processor, other.Memory, other.Kernel
	return m == other
}

// Settings are how long it was measured.
type Settings struct {
	Rounds        int           `json:"rounds"`
	Round         time.Duration `json:"round_ns"`
	Turn          time.Duration `json:"turn_ns,omitempty"`
	Warmup        time.Duration `json:"warmup_ns"`
	Settle        time.Duration `json:"settle_ns"`
	IdleFrom      int           `json:"idle_from"`
	IdleTo        int           `json:"idle_to"`
	MallocRounds  uint64        `json:"malloc_requests"`
	SaturatedBy   string        `json:"saturated_by"`
	FixedShare    float64       `json:"fixed_share"`
	AnswerBytes   int           `json:"answer_bytes"`
	OnlyScenarios []string      `json:"only_scenarios,omitempty"`
}

// The least that a claim needs.
const (
	claimRounds  = 5
	claimRound   = 20 * time.Second
	claimSettle  = 60 * time.Second
	claimIdle    = 15_000
	claimMallocs = 1_000_000
)

// Smoke says why the results prove nothing but that measuring works; empty: they
// count.
func (s Settings) Smoke() string {
	switch {
	case s.Rounds < claimRounds:
		return "fewer than five rounds"
	case s.Round < claimRound:
		return "rounds of less than 20 seconds"
	case s.Settle < claimSettle:
		return "idle connections were given less than a minute to settle"
	case s.IdleTo < claimIdle:
		return "fewer than 15,000 idle connections"
	case s.MallocRounds < claimMallocs:
		return "allocations counted over less than a million requests"
	}
	return ""
}

// Report is a run.
type Report struct {
	Started   time.Time     `json:"started"`
	Took      time.Duration `json:"took_ns"`
	Machine   Machine       `json:"machine"`
	Settings  Settings      `json:"settings"`
	Programs  []Program     `json:"programs"`
	Scenarios []Scenario    `json:"scenarios"`
	// CI: the bars are those for shared machines, loosened by twice their slack.
	CI bool `json:"ci,omitempty"`
}

// Scenario finds a scenario; nil: it was not measured.
func (r *Report) Scenario(id string) *Scenario {
	for i := range r.Scenarios {
		if r.Scenarios[i].ID == id {
			return &r.Scenarios[i]
		}
	}
	return nil
}

// version is that of the proxyfleet that takes part.
func (r *Report) version() string {
	for _, p := range r.Programs {
		if p.Name == ourName {
			return p.Version
		}
	}
	return ""
}

// rivals are all others.
func (r *Report) rivals() []Program {
	return slices.DeleteFunc(slices.Clone(r.Programs), func(p Program) bool { return p.Name == ourName })
}

// Continue begins a run with what an earlier one measured. That must have been the
// same rivals on a machine that is set up alike, for as long. A whole run takes hours, in
// which proxyfleet, or the machine, may have changed: each scenario tells what it was
// measured with and where. What is compared stands within one scenario.
func (r *Report) Continue(earlier *Report) error {
	mine, theirs := r.Settings, earlier.Settings
	mine.OnlyScenarios, theirs.OnlyScenarios = nil, nil
	mine.Turn, theirs.Turn = 0, 0 // each scenario has its own
	switch {
	case !r.Machine.alike(earlier.Machine):
		return errors.New("the earlier run was made on another kind of machine: with other cores, another system, or logs on another file system")
	case !reflect.DeepEqual(mine, theirs):
		return errors.New("the earlier run has other settings")
	case !slices.Equal(r.rivals(), earlier.rivals()):
		return errors.New("the earlier run has other versions of the rivals")
	}
	r.Started, r.Took = earlier.Started, earlier.Took
	r.Scenarios = slices.Clone(earlier.Scenarios)
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		s.was(earlier.Started, earlier.version())
		if s.Machine == nil {
			s.Machine = &earlier.Machine
		}
		if *s.Machine == r.Machine {
			s.Machine = nil
		}
	}
	return nil
}

// was says when it was measured and with what, where it does not say so itself.
func (s *Scenario) was(began time.Time, version string) {
	if s.Version == "" {
		s.Version = version
	}
	if s.Began.IsZero() {
		s.Began = began
	}
}

// Put adds a scenario, in place of an earlier result of it, and tells in the settings
// which were measured.
func (r *Report) Put(s Scenario) {
	s.was(r.Started, r.version())
	if old := r.Scenario(s.ID); old != nil {
		r.Took += s.Took - old.Took
		*old = s
	} else {
		r.Took += s.Took
		r.Scenarios = append(r.Scenarios, s)
	}
	place := map[string]int{}
	for i, d := range Definitions() {
		place[d.ID] = i
	}
	slices.SortFunc(r.Scenarios, func(a, b Scenario) int { return place[a.ID] - place[b.ID] })
	r.Settings.OnlyScenarios = nil
	if len(r.Scenarios) < len(place) {
		for _, s := range r.Scenarios {
			r.Settings.OnlyScenarios = append(r.Settings.OnlyScenarios, s.ID)
		}
	}
}
