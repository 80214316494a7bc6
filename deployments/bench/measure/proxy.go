package measure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/loadgen"
	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// contender is a proxy with what it is asked to do.
type contender struct {
	row  string
	name rivals.Name
	// The setting, but for addresses and directory.
	log, header, timeouts bool
	layout                rivals.Layout
	// Clients come by TLS, and by HTTP/2.
	tls, http2 bool
	// behind is what the backend does.
	behind behaviour
	// short: connections are for one request each.
	short bool
	// visit, if not empty, is what the load does in place of sending requests on
	// kept connections.
	visit loadgen.Visit
	// post is the size of the body that idle connections have sent; 0: none.
	post int
	// bodies: the proxy is set for long ones.
	bodies bool
	// load is what requests choose among.
	load rivals.Layout
	// idle connections are held while it is measured.
	idle int
	// pace: its peak counts for the fixed rate.
	pace bool
}

// proxy is a contender that runs.
type proxy struct {
	contender
	process *process
	setting rivals.Setting
	launch  rivals.Launch
	script  string
	holder  *holder
	backend *backend
}

func (c contender) scheme() string {
	if c.tls {
		return "https"
	}
	return "http"
}

const (
	// readyTimeout is for starting, with 100,000 routes too.
	readyTimeout = 2 * time.Minute
	readyEvery   = 50 * time.Millisecond
	probeTimeout = 5 * time.Second
)

// startProxy starts a contender and waits until it answers as it should.
func (r *run) startProxy(ctx context.Context, c contender, dir string, load shape) (*proxy, error) {
	behind, err := r.backendFor(ctx, c.behind)
	if err != nil {
		return nil, err
	}
	p, err := r.launch(c, dir, load, behind)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx, p.probe); err != nil {
		p.stop()
		return nil, p.process.trouble(err)
	}
	return p, nil
}

// launch starts a contender.
func (r *run) launch(c contender, dir string, load shape, behind *backend) (*proxy, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	p := &proxy{contender: c, backend: behind, setting: rivals.Setting{
		Listen: r.network.address(), Backend: behind.address, Admin: r.network.address(), Dir: dir,
		Connections: load.connections, Streams: load.streams, Idle: c.idle,
		Log: c.log, Header: c.header, Timeouts: c.timeouts, Layout: c.layout,
		HTTP2: c.http2, BackendHTTP2: c.behind.http2, Bodies: c.bodies,
	}}
	if c.tls {
		p.setting.Certificate = r.certificate
	}
	var err error
	if p.launch, err = rivals.Prepare(c.name, r.config.Programs[c.name].Path, p.setting); err != nil {
		return nil, err
	}
	if c.load.Count() > 1 {
		if p.script, err = rivals.Script(dir, c.load); err != nil {
			return nil, err
		}
	}
	p.process, err = start(r.starter, spawn{
		name: c.row, args: p.launch.Args, core: r.config.ProxyCore, dir: dir, stdout: p.launch.Stdout,
	})
	return p, err
}

func (p *proxy) stop() {
	if p.holder != nil {
		p.holder.stop()
	}
	p.process.stop()
}

// ready waits for the right answer.
func (p *proxy) ready(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		if p.process.ended() {
			return fmt.Errorf("it has ended (%w)", errors.Join(p.process.err, err))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		case <-tick.C:
		}
	}
}

// probe asks for one route, the last, and looks at the answer.
func (p *proxy) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	requests := p.load.Requests()
	q := requests[len(requests)-1]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.scheme()+"://"+p.setting.Listen.String()+q.Path, nil)
	if err != nil {
		return err
	}
	request.Host = q.Host
	response, err := p.client().Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	want := int64(AnswerBytes)
	if p.behind.size > 0 {
		want = int64(p.behind.size)
	}
	bytes, err := io.Copy(io.Discard, io.LimitReader(response.Body, want+1))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK || bytes != want {
		return fmt.Errorf("%s with %d bytes, want 200 with %d", response.Status, bytes, want)
	}
	if got := response.Header.Get(rivals.HeaderName); (got == rivals.HeaderValue) != p.header {
		return fmt.Errorf("%s is %q", rivals.HeaderName, got)
	}
	if p.http2 != (response.ProtoMajor == 2) {
		return fmt.Errorf("it speaks %s", response.Proto)
	}
	if s := response.TLS; s != nil && (s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || s.CurveID != tls.X25519) {
		return fmt.Errorf("TLS with %s and %v", tls.CipherSuiteName(s.CipherSuite), s.CurveID)
	}
	return nil
}

// client makes a client for one request.
func (p *proxy) client() *http.Client {
	t := &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(!p.http2)
	t.Protocols.SetHTTP2(p.http2)
	if p.tls {
		t.TLSClientConfig = loadgen.ClientTLS("")
		t.TLSClientConfig.ServerName = rivals.ServerName
	}
	return &http.Client{Transport: t}
}

// pids are the processes of the proxy.
func (p *proxy) pids() ([]int, error) {
	tree, err := procfs.Tree(p.process.pid())
	if err != nil {
		return nil, p.process.trouble(err)
	}
	return procfs.Used(tree).PIDs, nil
}

// takeLog empties the access log and says how long it was.
func (p *proxy) takeLog() (int64, error) {
	if p.launch.LogFile == "" {
		return 0, nil
	}
	info, err := os.Stat(p.launch.LogFile)
	if err != nil {
		return 0, fmt.Errorf("%s: access log: %w", p.row, err)
	}
	// Everybody appends, so the file may be cut while it is written.
	return info.Size(), os.Truncate(p.launch.LogFile, 0)
}

// metrics reads proxyfleet's metrics.
func (p *proxy) metrics(ctx context.Context) (map[string]float64, error) {
	text, err := p.admin(ctx, "/metrics")
	return parseMetrics(text), err
}

// heap reads the statistics of proxyfleet's memory. It costs the node much less
// than all of its metrics. collect: after a collection.
func (p *proxy) heap(ctx context.Context, collect bool) (heap, error) {
	path := "/debug/pprof/heap?debug=1"
	if collect {
		path += "&gc=1"
	}
	text, err := p.admin(ctx, path)
	if err != nil {
		return heap{}, err
	}
	return parseHeap(text)
}

// trace reads the execution trace of some time.
func (p *proxy) trace(ctx context.Context, d time.Duration) (*pauses, error) {
	seconds := max(int(d/time.Second), 1)
	text, err := p.ask(ctx, "/debug/pprof/trace?seconds="+strconv.Itoa(seconds), d+probeTimeout)
	if err != nil {
		return nil, err
	}
	return readPauses(strings.NewReader(text))
}

// admin reads an answer of proxyfleet's admin endpoint.
func (p *proxy) admin(ctx context.Context, path string) (string, error) {
	return p.ask(ctx, path, probeTimeout)
}

func (p *proxy) ask(ctx context.Context, path string, patience time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.setting.Admin.String()+path, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var text strings.Builder
	if _, err := io.Copy(&text, response.Body); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %.200s", path, response.Status, text.String())
	}
	return text.String(), nil
}
