package measure

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/loadgen"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// What this program does when it is started as one of the other ends.
const (
	RoleBackend = "backend"
	RoleLoad    = "load"
	RoleHold    = "hold"
	RoleVisit   = "visit"
	RoleRelay   = "relay"
)

// answerTimeout is for an answer of one of our own processes.
const answerTimeout = 30 * time.Second

// peer is a process of ours that answers lines with lines.
type peer struct {
	process *process
	lines   chan string
}

func (r *run) startPeer(w spawn) (*peer, error) {
	w.core, w.pipes = r.config.LoadCore, true
	p, err := start(r.starter, w)
	if err != nil {
		return nil, err
	}
	lines := make(chan string)
	go func() { // ends with the process, whose end closes the pipe
		defer close(lines)
		scanner := bufio.NewScanner(p.stdout)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	return &peer{p, lines}, nil
}

func (p *peer) stop() {
	go func() { // what still comes is not read any more
		for range p.lines {
		}
	}()
	p.process.stop()
}

func (p *peer) ask(ctx context.Context, question string, timeout time.Duration) (string, error) {
	if _, err := io.WriteString(p.process.stdin, question+"\n"); err != nil {
		return "", p.process.trouble(err)
	}
	return p.answer(ctx, timeout)
}

func (p *peer) answer(ctx context.Context, timeout time.Duration) (string, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", p.process.trouble(errors.New("it has ended"))
		}
		return line, nil
	case <-timer.C:
		return "", p.process.trouble(fmt.Errorf("no answer in %v", timeout))
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// behaviour is what a backend does.
type behaviour struct {
	size  int // of an answer
	http2 bool
	// bodies: it is made for long ones, and reads those of requests.
	bodies bool
}

// backend is the server behind a proxy.
type backend struct {
	*peer
	address netip.AddrPort
}

// backendFor starts a backend, or takes that which runs.
func (r *run) backendFor(ctx context.Context, how behaviour) (*backend, error) {
	if how.size == 0 {
		how.size = AnswerBytes
	}
	if b := r.backends[how]; b != nil {
		return b, nil
	}
	b := &backend{address: r.network.address()}
	var err error
	b.peer, err = r.startPeer(spawn{
		name: RoleBackend, dir: r.config.Dir,
		args: []string{
			r.config.Self, RoleBackend, "--listen", b.address.String(), "--size", strconv.Itoa(how.size),
			fmt.Sprintf("--http2=%t", how.http2), fmt.Sprintf("--bodies=%t", how.bodies),
		},
	})
	if err != nil {
		return nil, err
	}
	if _, err := b.requests(ctx); err != nil { // it listens
		b.stop()
		return nil, err
	}
	r.backends[how] = b
	return b, nil
}

func (r *run) stopBackends() {
	for _, b := range r.backends {
		b.stop()
	}
}

// requests is how many it has answered.
func (b *backend) requests(ctx context.Context) (uint64, error) {
	line, err := b.ask(ctx, "count", answerTimeout)
	if err != nil {
		return 0, err
	}
	var requests uint64
	var open int
	if _, err := fmt.Sscan(line, &requests, &open); err != nil {
		return 0, fmt.Errorf("backend: %q: %w", line, err)
	}
	return requests, nil
}

// holder holds idle connections.
type holder struct{ *peer }

func (r *run) startHolder(p *proxy) (*holder, error) {
	peer, err := r.startPeer(spawn{
		name: RoleHold, dir: r.config.Dir,
		args: []string{
			r.config.Self, RoleHold, "--target", p.setting.Listen.String(), "--host", p.load.Requests()[0].Host,
			"--path", p.load.Requests()[0].Path, fmt.Sprintf("--tls=%t", p.tls), "--post", strconv.Itoa(p.post),
		},
	})
	return &holder{peer}, err
}

// hold opens connections until there are so many.
func (h *holder) hold(ctx context.Context, n int) error {
	const timeout = 2 * time.Minute
	line, err := h.ask(ctx, strconv.Itoa(n), timeout)
	if err == nil && line != strconv.Itoa(n) {
		err = fmt.Errorf("hold: %q, want %d", line, n)
	}
	return err
}

// traffic is a load that is under way, or has ended.
type traffic struct {
	process *peer
	// parse reads what a tool of somebody else says; nil: it is our own.
	parse func(string) (toolResult, error)
	// visits go on until they are told to end, and count themselves.
	visits bool
}

// outcome is what a load found.
type outcome struct {
	failed  uint64
	first   string
	latency *loadgen.Result // of the open loop
}

// shape is how many connections a load has, and how many requests are under way
// on each; 0 streams: HTTP/1.1, one.
type shape struct{ connections, streams int }

// saturate begins to send as much as the proxy takes, for so long.
func (r *run) saturate(p *proxy, s shape, total time.Duration) (*traffic, error) {
	if p.visit != "" {
		return r.visit(p, s)
	}
	seconds := strconv.Itoa(int((total + time.Second - 1) / time.Second))
	target := p.scheme() + "://" + p.setting.Listen.String() + p.load.Requests()[0].Path
	if p.http2 {
		peer, err := r.startPeer(spawn{name: string(H2load), dir: r.config.Dir, args: []string{
			r.config.H2load.Path, "--threads", "1", "--clients", strconv.Itoa(s.connections),
			"--max-concurrent-streams", strconv.Itoa(max(s.streams, 1)), "--duration", seconds, target,
		}})
		return &traffic{process: peer, parse: parseH2load}, err
	}
	if r.config.Wrk.Path == "" || p.short { // wrk keeps its connections
		return r.send(p, s, 0, 0, total)
	}
	args := []string{
		r.config.Wrk.Path, "--threads", "1", "--connections", strconv.Itoa(s.connections),
		"--duration", seconds + "s", "--timeout", "10s",
	}
	if p.script != "" {
		args = append(args, "--script", p.script)
	}
	peer, err := r.startPeer(spawn{name: string(Wrk), dir: r.config.Dir, args: append(args, target)})
	return &traffic{process: peer, parse: parseWrk}, err
}

// visit begins to make visits, as many at once as the load has connections.
func (r *run) visit(p *proxy, s shape) (*traffic, error) {
	q := p.load.Requests()[0]
	peer, err := r.startPeer(spawn{name: RoleVisit, dir: r.config.Dir, args: []string{
		r.config.Self, RoleVisit, "--target", p.setting.Listen.String(), "--host", q.Host, "--path", q.Path,
		"--visit", string(p.visit), "--workers", strconv.Itoa(s.connections), fmt.Sprintf("--tls=%t", p.tls),
	}})
	return &traffic{process: peer, visits: true}, err
}

// count is how much was done so far: visits by themselves, requests as the
// backend counts them.
func (t *traffic) count(ctx context.Context, b *backend) (uint64, error) {
	if !t.visits {
		return b.requests(ctx)
	}
	line, err := t.process.ask(ctx, "count", answerTimeout)
	if err != nil {
		return 0, err
	}
	var done, failed uint64
	if _, err := fmt.Sscan(line, &done, &failed); err != nil {
		return 0, fmt.Errorf("%s: %q: %w", RoleVisit, line, err)
	}
	return done, nil
}

// send begins to send at a rate.
func (r *run) send(p *proxy, s shape, rate float64, warmup, total time.Duration) (*traffic, error) {
	args := []string{
		r.config.Self, RoleLoad, "--target", p.setting.Listen.String(), "--connections", strconv.Itoa(s.connections),
		"--rate", strconv.FormatFloat(rate, 'f', 3, 64), "--warmup", warmup.String(), "--duration", total.String(),
		"--hosts", strconv.Itoa(p.load.Hosts), "--routes", strconv.Itoa(p.load.RoutesPerHost), fmt.Sprintf("--tls=%t", p.tls),
		fmt.Sprintf("--short=%t", p.short),
	}
	peer, err := r.startPeer(spawn{name: RoleLoad, dir: r.config.Dir, args: args})
	return &traffic{process: peer}, err
}

// finish waits for the end of a load and reads what it says.
func (t *traffic) finish(ctx context.Context, within time.Duration) (outcome, error) {
	defer t.process.stop()
	if t.parse == nil {
		if t.visits {
			if _, err := io.WriteString(t.process.process.stdin, "end\n"); err != nil {
				return outcome{}, t.process.process.trouble(err)
			}
		}
		line, err := t.process.answer(ctx, within)
		if err != nil {
			return outcome{}, err
		}
		var result loadgen.Result
		if err := json.Unmarshal([]byte(line), &result); err != nil {
			return outcome{}, fmt.Errorf("load: %q: %w", line, err)
		}
		return outcome{result.Failed, result.FirstFailure, &result}, nil
	}
	var text string
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		select {
		case line, ok := <-t.process.lines:
			if !ok {
				result, err := t.parse(text)
				if err != nil {
					err = t.process.process.trouble(err)
				}
				return outcome{failed: result.Failed, first: result.Detail}, err
			}
			text += line + "\n"
		case <-ctx.Done():
			return outcome{}, t.process.process.trouble(ctx.Err())
		}
	}
}

// Requests are the texts of what is sent for a layout. short: each asks for the
// end of its connection.
func Requests(l rivals.Layout, short bool) [][]byte {
	var fields []string
	if short {
		fields = []string{"Connection: close"}
	}
	var out [][]byte
	for _, q := range l.Requests() {
		out = append(out, loadgen.Request(q.Host, q.Path, fields...))
	}
	return out
}
