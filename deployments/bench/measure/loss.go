package measure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/figure"
	"github.com/proxyfleet/proxyfleet/deployments/bench/loadgen"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

const (
	// objectBytes is the size of an object of a page.
	objectBytes = 2 << 10
	// oneWay is the delay between proxy and backend, in each direction.
	oneWay = 25 * time.Millisecond
	// lostOf is one of how many packets between clients and proxy is lost.
	lostOf = 100
	// pagesAtOnce is how many clients open pages.
	pagesAtOnce = 16
)

// ways are the protocols by which pages are opened.
func ways() []struct {
	way   string
	visit loadgen.Visit
} {
	return []struct {
		way   string
		visit loadgen.Visit
	}{{report.WayMultiplexed, loadgen.Multiplexed}, {report.WayPipelined, loadgen.Pipelined}}
}

// lossRules drop packets between the clients of a proxy and itself.
func lossRules(proxy netip.AddrPort) string {
	drop := fmt.Sprintf("numgen random mod %d == 0 drop", lostOf)
	return fmt.Sprintf("add table ip loss\nadd chain ip loss in { type filter hook input priority 0; }\n"+
		"add rule ip loss in ip daddr %[1]s tcp dport %[2]d %[3]s\nadd rule ip loss in ip saddr %[1]s tcp sport %[2]d %[3]s\n",
		proxy.Addr(), proxy.Port(), drop)
}

// loss opens pages through proxies, over a network that delays and loses.
func (r *run) loss(ctx context.Context) (*report.Scenario, error) {
	s := &report.Scenario{}
	absent := func(n rivals.Name, why string) {
		for _, w := range ways() {
			s.Rows = append(s.Rows, report.Row{Name: report.Way(string(n), w.way), Load: report.Pages, Absent: why})
		}
		r.config.Say(fmt.Sprintf("%s: %s", n, why))
	}
	nft, err := exec.LookPath("nft")
	if err != nil || os.Geteuid() != 0 {
		for _, n := range three() {
			absent(n, "losing packets needs root and nft")
		}
		return s, nil
	}
	inner := *r
	inner.backends, inner.network = map[behaviour]*backend{}, newNetwork(os.Getpid())
	if inner.starter, err = newNetworkStarter(); err != nil {
		return nil, err
	}
	defer inner.starter.close()
	defer inner.stopBackends()
	far, err := inner.backendFor(ctx, behaviour{size: objectBytes})
	if err != nil {
		return nil, err
	}
	near, err := inner.delayed(far)
	if err != nil {
		return nil, err
	}
	defer near.stop()
	var proxies []*proxy
	defer func() {
		for _, x := range proxies {
			x.stop()
		}
	}()
	for i, n := range three() {
		if why := r.config.Programs[n].Absent; why != "" {
			absent(n, why)
			continue
		}
		x, err := inner.launchLossy(ctx, nft, n, r.config.subdir(report.Loss, strconv.Itoa(i)), near)
		if x != nil {
			proxies = append(proxies, x)
		}
		if err != nil {
			return nil, err
		}
		for _, w := range ways() {
			s.Rows = append(s.Rows, report.Row{Name: report.Way(string(n), w.way), Load: report.Pages, Figures: map[report.Key]figure.Series{}})
		}
	}
	for round := range r.config.Rounds {
		for i := range proxies {
			if err := inner.lossRound(ctx, s, proxies[(i+round)%len(proxies)], round); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// delayed is a backend that answers as another one does, from afar.
func (r *run) delayed(far *backend) (near *backend, err error) {
	near = &backend{address: r.network.address()}
	near.peer, err = r.startPeer(spawn{name: RoleRelay, dir: r.config.Dir, args: []string{
		r.config.Self, RoleRelay, "--listen", near.address.String(), "--target", far.address.String(), "--delay", oneWay.String(),
	}})
	return near, err
}

// launchLossy starts a proxy, and loses packets between it and its clients once it answers.
// One that was started is given back with an error too.
func (r *run) launchLossy(ctx context.Context, nft string, n rivals.Name, dir string, near *backend) (*proxy, error) {
	c := contender{row: string(n), name: n, tls: true, http2: true}
	x, err := r.launch(c, dir, shape{connections: pagesAtOnce, streams: loadgen.PageObjects}, near)
	if err != nil {
		return nil, err
	}
	if err := x.ready(ctx, func(ctx context.Context) error {
		_, err := r.openPages(ctx, x, loadgen.Multiplexed, 1, 0, readyEvery)
		return err
	}); err != nil {
		return x, x.process.trouble(err)
	}
	return x, r.lose(ctx, nft, x.setting.Listen)
}

// lossRound measures both ways of a proxy once.
func (r *run) lossRound(ctx context.Context, s *report.Scenario, x *proxy, round int) error {
	for _, w := range ways() {
		row := s.Row(report.Way(x.row, w.way), report.Pages)
		p, err := r.openPages(ctx, x, w.visit, pagesAtOnce, r.config.Warmup, r.config.Round)
		if err != nil {
			return fmt.Errorf("%s: %w", row.Name, err)
		}
		row.Failed += p.failed
		if row.FirstFailure == "" {
			row.FirstFailure = p.first
		}
		for k, v := range map[report.Key]float64{report.Rate: p.rate, report.P50: p.latency.P50, report.P95: p.latency.P95} {
			row.Figures[k] = append(row.Figures[k], v)
		}
		r.config.Say(fmt.Sprintf("round %d of %d, %s: %.0f requests/s, p50 %.1f ms, p95 %.1f ms, %d failed so far",
			round+1, r.config.Rounds, row.Name, p.rate, p.latency.P50/1000, p.latency.P95/1000, row.Failed))
	}
	return nil
}

// opened is what opening pages gave.
type opened struct {
	outcome
	rate float64 // of requests
}

// openPages opens pages for a time.
func (r *run) openPages(ctx context.Context, x *proxy, visit loadgen.Visit, workers int, warmup, round time.Duration) (opened, error) {
	var o opened
	y := *x
	y.visit = visit
	t, err := r.visit(&y, shape{connections: workers})
	if err != nil {
		return o, err
	}
	o.rate, err = r.pagesRate(ctx, t, warmup, round)
	if err != nil {
		t.process.stop()
		return o, err
	}
	o.outcome, err = t.finish(ctx, finishGrace)
	if err == nil && o.latency.Measured == 0 {
		err = errors.New("no page came: " + o.first)
	}
	return o, err
}

func (r *run) pagesRate(ctx context.Context, t *traffic, warmup, round time.Duration) (float64, error) {
	if err := sleep(ctx, warmup); err != nil {
		return 0, err
	}
	begun := time.Now()
	before, err := t.count(ctx, nil)
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, round); err != nil {
		return 0, err
	}
	after, err := t.count(ctx, nil)
	return float64(after-before) / time.Since(begun).Seconds(), err
}

// lose begins to lose packets between a proxy and its clients.
func (r *run) lose(ctx context.Context, nft string, proxy netip.AddrPort) error {
	const timeout = 10 * time.Second
	command := exec.Command(nft, "-f", "-")
	command.Stdin = strings.NewReader(lossRules(proxy))
	var said strings.Builder
	command.Stdout, command.Stderr = &said, &said
	if err := r.starter.start(command, r.config.LoadCore); err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, said.String())
		}
		return nil
	case <-ctx.Done():
		_ = command.Process.Kill()
		<-done //nolint:errcheck // it was killed
		return fmt.Errorf("nft: %w", ctx.Err())
	}
}
