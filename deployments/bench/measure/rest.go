package measure

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// collections is about how often a node collects garbage while it is watched: of its
// own accord it hardly would.
const collections = 20

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// allocations counts what a node allocates while it answers, and how long
// collections of garbage stop it.
func (r *run) allocations(ctx context.Context) (*report.Scenario, error) {
	x, err := r.startProxy(ctx, everything(string(rivals.Proxyfleet)), r.config.subdir(report.Allocations), shape{connections: fewConnections})
	if err != nil {
		return nil, err
	}
	defer x.stop()
	// Connections are opened, and pools fill.
	if _, _, err := r.answered(ctx, x, 1); err != nil {
		return nil, err
	}
	first, err := x.heap(ctx, false)
	if err != nil {
		return nil, err
	}
	before, err := x.heap(ctx, false)
	if err != nil {
		return nil, err
	}
	requests, o, err := r.answered(ctx, x, r.config.MallocRequests)
	if err != nil {
		return nil, err
	}
	after, err := x.heap(ctx, false)
	if err != nil {
		return nil, err
	}
	reading := before.mallocs - first.mallocs
	mallocs := max(0, float64(after.mallocs-before.mallocs)-float64(reading))
	pause, err := r.pauses(ctx, x)
	if err != nil {
		return nil, err
	}
	r.config.Say(fmt.Sprintf("%d requests, %.0f allocations beside the %d of reading them; longest of %d stops %v (by the runtime's count %v), the loop waited %v",
		requests, mallocs, reading, pause.stops, pause.longest, pause.counted, pause.waited))
	return &report.Scenario{Rows: []report.Row{{
		Name: string(rivals.Proxyfleet), Load: report.Saturated, Failed: o.failed, FirstFailure: o.first,
		Figures: map[report.Key]figure.Series{
			report.Mallocs: {mallocs / float64(requests)},
			report.Pause:   {microseconds(pause.longest)},
			report.Counted: {microseconds(pause.counted)},
			report.Waited:  {microseconds(pause.waited)},
		},
	}}}, nil
}

// pauses lets a saturated node collect garbage, and tells what that did to it.
func (r *run) pauses(ctx context.Context, x *proxy) (*pauses, error) {
	t, err := r.saturate(x, shape{connections: fewConnections}, r.config.Warmup+r.config.Round)
	if err != nil {
		return nil, err
	}
	before, err := x.heap(ctx, false)
	if err != nil {
		t.process.stop()
		return nil, err
	}
	collecting, stop := context.WithCancel(ctx)
	defer stop()
	collected := make(chan error, 1)
	go func() {
		for collecting.Err() == nil {
			if sleep(collecting, r.config.Round/(collections+1)) != nil {
				break
			}
			if _, err := x.heap(collecting, true); err != nil && collecting.Err() == nil {
				collected <- err
				return
			}
		}
		collected <- nil
	}()
	p, err := x.trace(ctx, r.config.Round)
	stop()
	if failed := <-collected; err == nil {
		err = failed
	}
	after, failed := x.heap(ctx, false)
	if err == nil {
		err = failed
	}
	if err != nil {
		t.process.stop()
		return nil, err
	}
	if _, err := t.finish(ctx, r.config.Warmup+r.config.Round+finishGrace); err != nil {
		return nil, err
	}
	if _, err := x.takeLog(); err != nil {
		return nil, err
	}
	p.counted = time.Duration(after.longest(before.collections))
	return p, nil
}

// answered saturates a proxy, a round's time after another, until it answered so
// many requests.
func (r *run) answered(ctx context.Context, x *proxy, want uint64) (requests uint64, all outcome, err error) {
	start, err := x.backend.requests(ctx)
	if err != nil {
		return 0, all, err
	}
	for requests < want {
		t, err := r.saturate(x, shape{connections: fewConnections}, r.config.Round)
		if err != nil {
			return 0, all, err
		}
		o, err := t.finish(ctx, r.config.Round+finishGrace)
		if err != nil {
			return 0, all, err
		}
		now, err := x.backend.requests(ctx)
		if err != nil {
			return 0, all, err
		}
		if now-start == requests {
			return 0, all, fmt.Errorf("%s: no request reached the backend in %v", x.row, r.config.Round)
		}
		requests = now - start
		if all.failed += o.failed; all.first == "" {
			all.first = o.first
		}
		if _, err := x.takeLog(); err != nil {
			return 0, all, err
		}
	}
	return requests, all, nil
}

// idleMemory compares the memory of proxies that hold few and many connections.
// All hold theirs at the same time: there is nothing that would disturb.
func (r *run) idleMemory(ctx context.Context, id string, contenders []contender) (*report.Scenario, error) {
	s := &report.Scenario{}
	var proxies []*proxy
	defer func() {
		for _, x := range proxies {
			x.stop()
		}
	}()
	for i, c := range contenders {
		c.idle = r.config.IdleTo // there is to be room for them
		x, absent, err := r.enter(ctx, c, r.config.subdir(id, strconv.Itoa(i)), shape{connections: fewConnections}, r.config.IdleFrom)
		if err != nil {
			return nil, err
		}
		s.Rows = append(s.Rows, report.Row{Name: c.row, Load: report.None, Absent: absent})
		if x == nil {
			r.config.Say(fmt.Sprintf("%s: %s", c.row, absent))
			continue
		}
		proxies = append(proxies, x)
	}
	few, err := r.settled(ctx, proxies, r.config.IdleFrom)
	if err != nil {
		return nil, err
	}
	for _, x := range proxies {
		if err := x.holder.hold(ctx, r.config.IdleTo); err != nil {
			return nil, fmt.Errorf("%s: %w", x.row, err)
		}
	}
	many, err := r.settled(ctx, proxies, r.config.IdleTo)
	if err != nil {
		return nil, err
	}
	for i, x := range proxies {
		slope := (float64(many[i]) - float64(few[i])) / float64(r.config.IdleTo-r.config.IdleFrom)
		s.Row(x.row, report.None).Figures = map[report.Key]figure.Series{report.Idle: {slope}}
		r.config.Say(fmt.Sprintf("%s: %.0f bytes a connection", x.row, slope))
	}
	return s, nil
}

// idlers are those whose idle connections are weighed.
func idlers(id string) []contender {
	var out []contender
	if id == report.IdleMemory {
		for _, n := range []rivals.Name{rivals.Proxyfleet, rivals.Nginx, rivals.HAProxy, rivals.Caddy, rivals.GoTuned} {
			out = append(out, plain(n, false))
		}
		return out
	}
	for _, n := range three() {
		c := contender{row: string(n), name: n, tls: true}
		if id == report.IdleTLSPost {
			c.post, c.bodies, c.behind = uploadBytes, true, behaviour{bodies: true}
		}
		out = append(out, c)
	}
	return out
}

// uploadBytes is what idle connections have posted, where they have.
const uploadBytes = 32 << 10

// settled waits, and reads the memory of proxies that must still have their
// connections.
func (r *run) settled(ctx context.Context, proxies []*proxy, connections int) ([]uint64, error) {
	r.config.Say(fmt.Sprintf("%d idle connections each; waiting %v", connections, r.config.Settle.Round(time.Second)))
	if err := sleep(ctx, r.config.Settle); err != nil {
		return nil, err
	}
	var out []uint64
	for _, x := range proxies {
		pids, err := x.pids()
		if err != nil {
			return nil, err
		}
		open, err := procfs.Descriptors(pids)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.row, err)
		}
		if open < connections {
			return nil, fmt.Errorf("%s: %d descriptors are open, but %d connections are held", x.row, open, connections)
		}
		bytes, err := procfs.PrivateDirty(pids)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.row, err)
		}
		out = append(out, bytes)
	}
	return out, nil
}
