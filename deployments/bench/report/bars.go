package report

import (
	"math"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
)

// Comparison is what of a figure a bar looks at.
type Comparison uint8

// The comparisons.
const (
	// Against divides our figure by another.
	Against Comparison = iota
	// Gain divides another figure by ours.
	Gain
	// Alone takes our figure as it is.
	Alone
	// More subtracts another figure from ours.
	More
)

// Bar is a figure and its bound. Every bar is of a row of proxyfleet.
type Bar struct {
	Scenario   string
	Load       Load
	Key        Key
	Comparison Comparison
	Of, Than   string // rows; Than is empty for Alone
	Bound      figure.Bound
	// Guard: not promised to anybody, but worse would be a step back.
	Guard bool
}

// Slacks: what measuring on a shared machine may be off by.
const (
	slackCost   = 0.05
	slackP99    = 0.15
	slackMemory = 0.10
	slackPause  = 0.50
)

func target(scenario string, load Load, key Key, c Comparison, of, than string, d figure.Direction, limit, slack float64) Bar {
	return Bar{scenario, load, key, c, of, than, figure.Bound{Direction: d, Limit: limit, Slack: slack}, false}
}

func guard(scenario string, load Load, key Key, c Comparison, of, than string, d figure.Direction, limit, slack float64) Bar {
	b := target(scenario, load, key, c, of, than, d, limit, slack)
	b.Guard = true
	return b
}

// Bars are all bars, in the order of the page.
func Bars() []Bar {
	var bars []Bar
	bars = append(bars, sideBySide(Bare, nginx, 1)...)
	bars = append(bars, sideBySide(Bare, haproxy, 1)...)
	bars = append(bars, sideBySide(LikeForLike, nginx, 0.90)...)
	bars = append(bars, sideBySide(LikeForLike, haproxy, 0.85)...)
	bars = append(bars, sideBySide(Everything, nginx, 0.97)...)
	bars = append(bars, target(Everything, Saturated, User, Against, ourName, nginx, figure.AtMost, 1, slackCost))
	bars = append(bars, goProxies()...)
	bars = append(bars, secure()...)
	bars = append(bars, lasting()...)
	bars = append(bars, ours()...)
	return append(bars, losses()...)
}

// sideBySide are the bars of a scenario in which costs are compared.
func sideBySide(scenario, rival string, limit float64) []Bar {
	return []Bar{
		target(scenario, Saturated, CPU, Against, ourName, rival, figure.AtMost, limit, slackCost),
		target(scenario, Fixed, CPU, Against, ourName, rival, figure.AtMost, limit, slackCost),
		guard(scenario, Saturated, Rate, Against, ourName, rival, figure.AtLeast, 1, slackCost),
		guard(scenario, Fixed, P50, Against, ourName, rival, figure.AtMost, 1, slackP99),
		guard(scenario, Fixed, P99, Against, ourName, rival, figure.AtMost, 1, slackP99),
	}
}

func goProxies() []Bar {
	bars := []Bar{
		target(GoProxies64, Saturated, CPU, Gain, ourName, goDefault, figure.AtLeast, 6, slackCost),
		target(GoProxies1k, Saturated, CPU, Gain, ourName, goDefault, figure.AtLeast, 7, slackCost),
		guard(GoProxies5k, Saturated, CPU, Gain, ourName, goDefault, figure.AtLeast, 7, slackCost),
	}
	for _, s := range []string{GoProxies64, GoProxies1k, GoProxies5k} {
		bars = append(bars,
			// At few requests a second, wake-ups are most of anybody's cost.
			guard(s, Fixed, CPU, Gain, ourName, goDefault, figure.AtLeast, 1, slackCost),
			guard(s, Saturated, CPU, Gain, ourName, goTuned, figure.AtLeast, 3, slackCost),
			// Articles tell of four times the requests after tuning.
			target(s, Saturated, Rate, Against, ourName, goDefault, figure.AtLeast, 4, slackCost),
			guard(s, Fixed, P99, Against, ourName, goDefault, figure.AtMost, 1, slackP99),
		)
	}
	return append(bars,
		target(GoProxies5k, Saturated, Peak, Against, ourName, goDefault, figure.AtMost, 0.10, slackMemory),
		target(GoProxies5k, Saturated, Peak, Against, ourName, nginx, figure.AtMost, 1, slackMemory),
		guard(GoProxies1k, Saturated, Peak, Against, ourName, goDefault, figure.AtMost, 0.40, slackMemory),
		guard(GoProxies64, Saturated, Peak, Alone, ourName, "", figure.AtMost, 32<<20, slackMemory),
	)
}

// secure are the bars of TLS and HTTP/2.
func secure() []Bar {
	bars := sideBySide(TLS, nginx, 0.85)
	bars = append(bars, sideBySide(TLS, haproxy, 0.85)...)
	bars = append(bars, target(TLS, Saturated, Dropped, Alone, ourName, "", figure.AtMost, 0, 0))
	for _, s := range []string{HTTP2, HTTP2Wide} {
		bars = append(bars,
			target(s, Saturated, CPU, Against, ourName, haproxy, figure.AtMost, 0.85, slackCost),
			guard(s, Saturated, CPU, Against, ourName, nginx, figure.AtMost, 0.85, slackCost),
			guard(s, Saturated, Rate, Against, ourName, haproxy, figure.AtLeast, 1, slackCost),
		)
	}
	bars = append(bars,
		// Against HAProxy with HTTP/1.1 behind it, which is how people run it.
		target(HTTP2, Saturated, CPU, Against, Way(ourName, WayHTTP2), haproxy, figure.AtMost, 0.5, slackCost),
		guard(HTTP2, Saturated, CPU, Against, Way(ourName, WayHTTP2), Way(haproxy, WayHTTP2), figure.AtMost, 0.85, slackCost),
	)
	for _, way := range []string{WayFull, WayResumed} {
		bars = append(bars,
			target(Handshakes, Saturated, CPU, Against, Way(ourName, way), Way(nginx, way), figure.AtMost, 1, slackCost),
			guard(Handshakes, Saturated, CPU, Against, Way(ourName, way), Way(haproxy, way), figure.AtMost, 1, slackCost),
			guard(Handshakes, Saturated, Rate, Against, Way(ourName, way), Way(nginx, way), figure.AtLeast, 1, slackCost),
		)
	}
	return append(bars,
		target(IdleTLS, None, Idle, Alone, ourName, "", figure.Below, 15_500, slackMemory),
		guard(IdleTLS, None, Idle, Against, ourName, haproxy, figure.AtMost, 1, slackMemory),
		guard(IdleTLSPost, None, Idle, Alone, ourName, "", figure.Below, 36_000, slackMemory),
	)
}

// lasting are the bars of connections that last for one request, and for long
// bodies.
func lasting() []Bar {
	short, kept := Way(ourName, WayShort), Way(ourName, WayKept)
	bars := []Bar{
		target(Connections, Saturated, CPU, Against, short, Way(nginx, WayShort), figure.AtMost, 1, slackCost),
		guard(Connections, Saturated, CPU, Against, short, Way(haproxy, WayShort), figure.AtMost, 1, slackCost),
		guard(Connections, Saturated, CPU, Against, kept, Way(nginx, WayKept), figure.AtMost, 1, slackCost),
		// Articles tell of 2.9 times the requests once connections are kept.
		target(Connections, Saturated, Rate, Against, kept, short, figure.AtLeast, 2.9, slackCost),
	}
	for _, s := range []string{Bodies, BodiesTLS} {
		bars = append(bars,
			target(s, Saturated, CPUBytes, Against, ourName, nginx, figure.AtMost, 1, slackCost),
			guard(s, Saturated, CPUBytes, Against, ourName, haproxy, figure.AtMost, 1, slackCost),
			guard(s, Saturated, Throughput, Against, ourName, nginx, figure.AtLeast, 1, slackCost),
		)
	}
	multiplexed, pipelined := Way(ourName, WayMultiplexed), Way(ourName, WayPipelined)
	return append(bars,
		target(Loss, Pages, Rate, Against, multiplexed, pipelined, figure.AtLeast, 3.9, slackCost),
		target(Loss, Pages, P95, Against, multiplexed, pipelined, figure.AtMost, 0.25, slackP99),
		guard(Loss, Pages, P50, Against, multiplexed, pipelined, figure.AtMost, 0.5, slackP99),
		guard(Loss, Pages, Rate, Against, multiplexed, Way(nginx, WayMultiplexed), figure.AtLeast, 0.9, slackCost),
		guard(Loss, Pages, P95, Against, multiplexed, Way(nginx, WayMultiplexed), figure.AtMost, 1.1, slackP99),
	)
}

// ours are the bars of the scenarios in which proxyfleet is compared with itself.
func ours() []Bar {
	return []Bar{
		target(Routes, Saturated, CPU, Against, RowOneHost, RowTenRoutes, figure.AtMost, 1.05, slackCost),
		target(Routes, Saturated, CPU, Against, RowManyHosts, RowTenRoutes, figure.AtMost, 1.05, slackCost),
		target(Features, Saturated, CPU, More, RowAll, RowBare, figure.AtMost, 1.2, slackP99),
		target(Features, Saturated, CPU, More, RowLog, RowBare, figure.AtMost, 0.6, slackP99),
		guard(Features, Saturated, CPU, More, RowHeader, RowBare, figure.AtMost, 0.3, slackP99),
		guard(Features, Saturated, CPU, More, RowHosts, RowBare, figure.AtMost, 0.4, slackP99),
		guard(Features, Saturated, CPU, More, RowTimeouts, RowBare, figure.AtMost, 0.3, slackP99),
		guard(Features, Saturated, CPU, More, RowTLS, RowBare, figure.AtMost, 4, slackP99),
		guard(Features, Saturated, CPU, More, RowHTTP2, RowBare, figure.AtMost, 6, slackP99),
		target(Allocations, Saturated, Mallocs, Alone, ourName, "", figure.AtMost, 0.01, slackMemory),
		target(Allocations, Saturated, Pause, Alone, ourName, "", figure.Below, 1000, slackPause),
		guard(Allocations, Saturated, Counted, Alone, ourName, "", figure.Below, 20_000, slackPause),
		guard(Allocations, Saturated, Waited, Alone, ourName, "", figure.Below, 20_000, slackPause),
		target(IdleMemory, None, Idle, Alone, ourName, "", figure.Below, 528, slackMemory),
		guard(IdleMemory, None, Idle, Against, ourName, nginx, figure.AtMost, 1, slackMemory),
		target(IdleAndBusy, Fixed, P99, Against, RowWithIdle, RowNoIdle, figure.AtMost, 1.2, slackP99),
		guard(IdleAndBusy, Fixed, CPU, Against, RowWithIdle, RowNoIdle, figure.AtMost, 1.1, slackCost),
		guard(IdleAndBusy, Saturated, CPU, Against, RowWithIdle, RowNoIdle, figure.AtMost, 1.1, slackCost),
	}
}

// losses: a log that loses lines would be cheap.
func losses() []Bar {
	var bars []Bar
	for _, row := range []struct{ scenario, name string }{
		{LikeForLike, ourName}, {Everything, ourName}, {Features, RowLog}, {Features, RowAll},
	} {
		bars = append(bars, target(row.scenario, Saturated, Dropped, Alone, row.name, "", figure.AtMost, 0, 0))
	}
	return bars
}

// Verdict is what became of a bar.
type Verdict string

// The verdicts.
const (
	Met         Verdict = "met"
	Missed      Verdict = "missed"
	NotMeasured Verdict = "not measured"
)

// Judgement is a bar and what was measured.
type Judgement struct {
	Bar
	// Value is what the bound is held against: of equal figures, 1, or 0 where one
	// is subtracted from the other.
	Value float64
	// Ratio is the whole comparison, for Against and Gain.
	Ratio   figure.Ratio
	Equal   bool
	Verdict Verdict
}

// Judge holds a run against the bars of its scenarios.
func (r *Report) Judge() []Judgement {
	var out []Judgement
	for _, b := range Bars() {
		s := r.Scenario(b.Scenario)
		if s == nil {
			continue
		}
		j := judge(s, b)
		if r.CI {
			j.Bound = j.Bound.Loosened()
		}
		switch {
		case math.IsNaN(j.Value):
			j.Verdict = NotMeasured
		case j.Bound.Holds(j.Value):
			j.Verdict = Met
		default:
			j.Verdict = Missed
		}
		out = append(out, j)
	}
	return append(out, r.failures()...)
}

func judge(s *Scenario, b Bar) Judgement {
	j := Judgement{Bar: b, Value: math.NaN()}
	row := s.Row(b.Of, b.Load)
	if row == nil {
		return j
	}
	of := row.Figures[b.Key]
	if b.Comparison == Alone {
		j.Value = of.Max() // the worst round: these bounds are no averages
		if b.Bound.Direction == figure.AtLeast {
			j.Value = of.Min()
		}
		return j
	}
	other := s.Row(b.Than, b.Load)
	if other == nil || len(of) == 0 || len(other.Figures[b.Key]) == 0 {
		return j
	}
	than := other.Figures[b.Key]
	switch b.Comparison {
	case Against:
		j.Ratio = figure.Divide(of, than)
		j.Value = j.Ratio.Judged()
	case Gain:
		j.Ratio = figure.Divide(than, of)
		j.Value = j.Ratio.Judged()
	case More:
		j.Ratio = figure.Divide(of, than)
		if j.Value = of.Median() - than.Median(); j.Ratio.Equal {
			j.Value = 0
		}
	}
	j.Equal = j.Ratio.Equal
	return j
}

// failures: no request that is sent to proxyfleet may fail.
func (r *Report) failures() []Judgement {
	var out []Judgement
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		failed, rows := 0.0, 0
		for _, row := range s.Rows {
			if row.Absent == "" && !Rival(row.Name) {
				failed += float64(row.Failed)
				rows++
			}
		}
		if rows == 0 {
			continue
		}
		j := Judgement{
			Bar:   Bar{Scenario: s.ID, Key: Failed, Comparison: Alone, Of: ourName, Bound: figure.Bound{}},
			Value: failed, Verdict: Met,
		}
		if failed > 0 {
			j.Verdict = Missed
		}
		out = append(out, j)
	}
	return out
}

// Failed is the key of the bar that no request fails.
const Failed Key = "failed"
