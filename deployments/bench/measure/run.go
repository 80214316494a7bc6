package measure

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// run is a run; one goroutine owns it.
type run struct {
	config  Config
	cores   int
	starter *starter
	network *network
	// backends are started when they are needed first.
	backends    map[behaviour]*backend
	certificate *rivals.Certificate
}

// wantDescriptors is room for both ends of the most idle connections, and for
// programs that count their limit twice.
const wantDescriptors = 1 << 17

// Run measures, and says what it found. Scenarios that were whole when ctx ended
// are in the report, beside the error.
func Run(ctx context.Context, c Config, now func() time.Time) (*report.Report, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	if _, err := allowDescriptors(wantDescriptors); err != nil {
		return nil, fmt.Errorf("descriptors: %w", err)
	}
	cores := online() // before this process is held to one
	release, err := stayOn(c.LoadCore)
	if err != nil {
		return nil, err
	}
	defer release()
	r := &run{config: c, cores: cores, starter: newStarter(), network: newNetwork(os.Getpid()), backends: map[behaviour]*backend{}}
	defer r.starter.close()
	defer r.stopBackends()
	started := now()
	if r.certificate, err = rivals.NewCertificate(c.Dir, started); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	result := &report.Report{Started: started, Machine: r.machine(), Settings: r.settings(), Programs: r.programs()}
	if c.Earlier != nil {
		if err := result.Continue(c.Earlier); err != nil {
			return nil, err
		}
	}
	for _, d := range report.Definitions() {
		if len(c.Only) > 0 && !slices.Contains(c.Only, d.ID) {
			continue
		}
		begun := now()
		c.Say("== " + d.Title)
		s, err := r.scenario(ctx, d.ID)
		if ctx.Err() != nil {
			return result, ctx.Err()
		}
		if err != nil {
			return result, fmt.Errorf("%s: %w", d.ID, err)
		}
		s.ID, s.Began, s.Took, s.Turn = d.ID, begun, now().Sub(begun), c.Turn
		result.Put(*s)
	}
	return result, nil
}

// Takes is what rounds and waits of a run add up to where every rival is installed.
// Starting proxies and counting allocations come on top.
func Takes(c Config) (sum time.Duration) {
	all := plans(c.IdleTo)
	round := c.Warmup + c.Round
	for _, d := range report.Definitions() {
		switch d.ID {
		case report.Allocations:
			sum += c.Round // in which pauses are traced
		case report.Loss:
			sum += time.Duration(c.Rounds*len(three())*len(ways())) * round
		case report.IdleMemory, report.IdleTLS, report.IdleTLSPost:
			sum += 2 * c.Settle // with few connections, and with many
		default:
			p := all[d.ID]
			rounds := c.Rounds * len(p.contenders)
			if p.fixed {
				rounds *= 2
			}
			sum += time.Duration(rounds) * (time.Duration(c.turns(p.load.connections))*c.Warmup + c.Round)
		}
	}
	return sum
}

func (r *run) scenario(ctx context.Context, id string) (*report.Scenario, error) {
	switch id {
	case report.Allocations:
		return r.allocations(ctx)
	case report.Loss:
		return r.loss(ctx)
	case report.IdleMemory, report.IdleTLS, report.IdleTLSPost:
		return r.idleMemory(ctx, id, idlers(id))
	}
	p, ok := plans(r.config.IdleTo)[id]
	if !ok {
		return nil, fmt.Errorf("scenario %q has no plan", id)
	}
	return r.compare(ctx, id, p)
}

func (r *run) settings() report.Settings {
	return report.Settings{
		Rounds: r.config.Rounds, Round: r.config.Round, Turn: r.config.Turn, Warmup: r.config.Warmup, Settle: r.config.Settle,
		IdleFrom: r.config.IdleFrom, IdleTo: r.config.IdleTo, MallocRounds: r.config.MallocRequests,
		SaturatedBy: r.config.saturatedBy(), FixedShare: FixedShare, AnswerBytes: AnswerBytes, OnlyScenarios: r.config.Only,
	}
}

func (r *run) programs() []report.Program {
	var out []report.Program
	for _, n := range rivals.Names() {
		p := r.config.Programs[n]
		out = append(out, report.Program{Name: string(n), Version: p.Version, Absent: p.Absent})
	}
	for _, t := range []struct {
		tool Tool
		Program
	}{{Wrk, r.config.Wrk}, {H2load, r.config.H2load}} {
		if t.Path != "" || t.Absent != "" {
			out = append(out, report.Program{Name: string(t.tool), Version: t.Version, Absent: t.Absent})
		}
	}
	return out
}

// sleep waits, or ends with ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
