package measure

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
	"github.com/proxyfleet/proxyfleet/deployments/bench/loadgen"
	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// finishGrace is what a load gets to end after its time.
const finishGrace = 30 * time.Second

// compare measures the contenders of a plan in turns.
func (r *run) compare(ctx context.Context, id string, p plan) (*report.Scenario, error) {
	s := &report.Scenario{}
	var proxies []*proxy
	defer func() {
		for _, x := range proxies {
			x.stop()
		}
	}()
	for i, c := range p.contenders {
		x, absent, err := r.enter(ctx, c, r.config.subdir(id, strconv.Itoa(i)), p.load, c.idle)
		if err != nil {
			return nil, err
		}
		if x == nil {
			r.config.Say(fmt.Sprintf("%s: %s", c.row, absent))
			s.Rows = append(s.Rows, report.Row{Name: c.row, Load: report.Saturated, Absent: absent})
			continue
		}
		proxies = append(proxies, x)
		s.Rows = append(s.Rows, report.Row{Name: c.row, Load: report.Saturated, Figures: map[report.Key]figure.Series{}})
	}
	if err := r.rounds(ctx, s, report.Saturated, proxies, p.load, 0); err != nil {
		return nil, err
	}
	for _, x := range proxies {
		if err := r.end(ctx, s, x); err != nil {
			return nil, err
		}
	}
	if !p.fixed {
		return s, nil
	}
	s.FixedRate = fixedRate(s, proxies)
	if s.FixedRate == 0 {
		return s, nil
	}
	paced := proxies[:0:0]
	for _, x := range proxies {
		row := report.Row{Name: x.row, Load: report.Fixed, Figures: map[report.Key]figure.Series{}}
		saturated := s.Row(x.row, report.Saturated)
		switch {
		case saturated == nil:
			continue // it fell out
		case saturated.Figures[report.Rate].Median() < s.FixedRate:
			row = report.Row{Name: x.row, Load: report.Fixed, Absent: "it cannot bear that rate"}
		default:
			paced = append(paced, x)
		}
		s.Rows = append(s.Rows, row)
	}
	return s, r.rounds(ctx, s, report.Fixed, paced, p.load, s.FixedRate)
}

// enter starts a contender, and holds idle connections to it. A rival that is missing or does not start is left
// out, with the reason; ours must start.
func (r *run) enter(ctx context.Context, c contender, dir string, load shape, hold int) (p *proxy, absent string, err error) {
	if absent := r.config.Programs[c.name].Absent; absent != "" {
		return nil, absent, nil
	}
	if c.http2 && r.config.H2load.Path == "" {
		return nil, "h2load, which makes the load, is not installed", nil
	}
	p, err = r.startProxy(ctx, c, dir, load)
	if err == nil && hold > 0 {
		if p.holder, err = r.startHolder(p); err == nil {
			err = p.holder.hold(ctx, hold)
		}
		if err != nil {
			p.stop()
		}
	}
	switch {
	case err == nil:
		return p, "", nil
	case ctx.Err() != nil:
		return nil, "", ctx.Err()
	case c.name == rivals.Proxyfleet:
		return nil, "", err
	}
	return nil, "does not start: " + brief(err.Error()), nil
}

// brief makes one line of at most some length.
func brief(text string) string {
	const most = 300
	text = strings.TrimRight(strings.Join(strings.Fields(text), " "), ".")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// fixedRate is the share of the slowest peak among those that set the pace.
func fixedRate(s *report.Scenario, proxies []*proxy) float64 {
	slowest := math.Inf(1)
	for _, x := range proxies {
		if row := s.Row(x.row, report.Saturated); x.pace && row != nil {
			slowest = min(slowest, row.Figures[report.Rate].Median())
		}
	}
	if math.IsInf(slowest, 1) || math.IsNaN(slowest) {
		return 0
	}
	return math.Round(FixedShare * slowest)
}

// rounds measures each proxy in turn. Its turns of a round make one value of each figure,
// their mean; each turn begins with another proxy.
func (r *run) rounds(ctx context.Context, s *report.Scenario, load report.Load, proxies []*proxy, of shape, rate float64) error {
	turns := r.config.turns(of.connections)
	for round := range r.config.Rounds {
		for turn := range turns * len(proxies) {
			x := proxies[(turn+turn/len(proxies)+round)%len(proxies)]
			row := s.Row(x.row, load)
			if row == nil { // it fell out
				continue
			}
			if err := r.turn(ctx, row, x, of, rate); err != nil {
				if ctx.Err() != nil || x.name == rivals.Proxyfleet {
					return fmt.Errorf("%s: %w", x.row, err)
				}
				row.Figures, row.Absent = nil, "fell out: "+brief(err.Error())
				r.config.Say(fmt.Sprintf("%s: %s", x.row, row.Absent))
			}
		}
		for _, x := range proxies {
			if row := s.Row(x.row, load); row != nil {
				row.Join(round)
				r.config.Say(fmt.Sprintf("round %d of %d, %s, %s: %s", round+1, r.config.Rounds, load, x.row, lastRound(row)))
			}
		}
	}
	return nil
}

// lastRound tells the last round of a row.
func lastRound(row *report.Row) string {
	last := func(k report.Key) float64 { v := row.Figures[k]; return v[len(v)-1] }
	var say string
	if len(row.Figures[report.CPUBytes]) > 0 {
		say = fmt.Sprintf("%.3f s a GiB (%.3f user), %.2f GiB/s", last(report.CPUBytes), last(report.UserBytes), last(report.Throughput))
	} else {
		say = fmt.Sprintf("%.2f µs each (%.2f user), %.0f/s", last(report.CPU), last(report.User), last(report.Rate))
	}
	say += fmt.Sprintf(", its core %.0f %%, others %.0f %%, load's core %.0f %%", 100*last(report.Busy), 100*last(report.Others), 100*last(report.LoadBusy))
	if row.Load == report.Fixed {
		say += fmt.Sprintf(", p50 %.0f µs, p99 %.0f µs", last(report.P50), last(report.P99))
	}
	if row.Failed > 0 {
		say += fmt.Sprintf(", %d failed so far (%s)", row.Failed, row.FirstFailure)
	}
	return say
}

// turn measures one proxy once; rate 0 saturates it.
func (r *run) turn(ctx context.Context, row *report.Row, x *proxy, of shape, rate float64) error {
	// Some more than the two moments need: the load does not end before the second.
	length := r.config.Round / time.Duration(r.config.turns(of.connections))
	total := r.config.Warmup + length + 500*time.Millisecond
	var t *traffic
	var err error
	if rate > 0 {
		t, err = r.send(x, of, rate, r.config.Warmup, total)
	} else {
		t, err = r.saturate(x, of, total)
	}
	if err != nil {
		return err
	}
	before, after, err := r.twoSamples(ctx, x, t, length)
	if err != nil {
		t.process.stop()
		return err
	}
	o, err := t.finish(ctx, finishGrace)
	if err != nil {
		return err
	}
	if o.failed > 0 && after.done == before.done {
		return fmt.Errorf("nothing was done, and %d failed: %s", o.failed, o.first)
	}
	logged, err := x.takeLog()
	if err != nil {
		return err
	}
	if err := before.figures(row.Figures, after, r.config.ProxyCore, r.config.LoadCore, x.visit == loadgen.Download); err != nil {
		return err
	}
	row.Failed += o.failed
	if row.FirstFailure == "" {
		row.FirstFailure = o.first
	}
	add := func(k report.Key, v float64) { row.Figures[k] = append(row.Figures[k], v) }
	if o.latency != nil && rate > 0 {
		add(report.P50, o.latency.P50)
		add(report.P99, o.latency.P99)
		add(report.Late, o.latency.LateP99)
	}
	if x.log && rate == 0 {
		answered, err := x.backend.requests(ctx)
		if err != nil {
			return err
		}
		sent := answered - before.start
		if logged == 0 {
			return fmt.Errorf("its access log is empty after %d requests", sent)
		}
		add(report.LogBytes, float64(logged)/float64(sent))
	}
	return nil
}

// sample is what was counted at a moment.
type sample struct {
	at         time.Time
	start      uint64 // what had been done when the load began
	done       uint64 // requests, visits, or bytes of bodies
	usage      procfs.Usage
	processors map[int]procfs.Processor
}

// twoSamples counts at the two ends of a turn, while the load goes on.
func (r *run) twoSamples(ctx context.Context, x *proxy, t *traffic, length time.Duration) (before, after sample, err error) {
	if before.start, err = t.count(ctx, x.backend); err != nil {
		return before, after, err
	}
	if err := sleep(ctx, r.config.Warmup); err != nil {
		return before, after, err
	}
	start := before.start
	if before, err = r.sample(ctx, x, t); err != nil {
		return before, after, err
	}
	before.start = start
	if err := sleep(ctx, length); err != nil {
		return before, after, err
	}
	after, err = r.sample(ctx, x, t)
	return before, after, err
}

func (r *run) sample(ctx context.Context, x *proxy, t *traffic) (sample, error) {
	var s sample
	tree, err := procfs.Tree(x.process.pid())
	if err != nil {
		return s, x.process.trouble(err)
	}
	if s.done, err = t.count(ctx, x.backend); err != nil {
		return s, err
	}
	s.at, s.usage = time.Now(), procfs.Used(tree)
	s.processors, err = procfs.Processors()
	return s, err
}

// figures are what changed between two samples. bodies: what was done are bytes.
func (s sample) figures(into map[report.Key]figure.Series, after sample, proxyCore, loadCore int, bodies bool) error {
	done := float64(after.done - s.done)
	seconds := after.at.Sub(s.at).Seconds()
	if done == 0 {
		return fmt.Errorf("nothing was done in %.1f s", seconds)
	}
	user := (after.usage.User - s.usage.User).Seconds()
	system := (after.usage.System - s.usage.System).Seconds()
	busy := func(core int) float64 { // by anybody, another machine among them
		a, b := after.processors[core], s.processors[core]
		return float64(a.Busy+a.Steal-b.Busy-b.Steal) / procfs.TicksPerSecond / seconds
	}
	found := map[report.Key]float64{
		report.Busy:     (user + system) / seconds,
		report.Others:   max(0, busy(proxyCore)-(user+system)/seconds),
		report.LoadBusy: busy(loadCore),
	}
	if bodies {
		gib := done / (1 << 30)
		found[report.CPUBytes], found[report.UserBytes], found[report.SystemBytes] = (user+system)/gib, user/gib, system/gib
		found[report.Throughput] = gib / seconds
	} else {
		found[report.CPU], found[report.User], found[report.System] = (user+system)/done*1e6, user/done*1e6, system/done*1e6
		found[report.Rate] = done / seconds
	}
	for k, v := range found {
		into[k] = append(into[k], v)
	}
	return nil
}

// end takes what is known only when all rounds are over.
func (r *run) end(ctx context.Context, s *report.Scenario, x *proxy) error {
	row := s.Row(x.row, report.Saturated)
	if row == nil {
		return nil // it fell out
	}
	pids, err := x.pids()
	if err != nil {
		return err
	}
	peak, err := procfs.Peak(pids)
	if err != nil {
		return fmt.Errorf("%s: %w", x.row, err)
	}
	row.Figures[report.Peak] = figure.Series{float64(peak)}
	if x.name != rivals.Proxyfleet {
		return nil
	}
	metrics, err := x.metrics(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", x.row, err)
	}
	if x.log {
		row.Figures[report.Dropped] = figure.Series{metrics[metricDropped]}
	}
	return nil
}

// metricDropped is how many lines of the access log a node has lost.
const metricDropped = `proxyfleet_access_log_lines_total{result="dropped"}`
