package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/load"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/attack"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

const (
	// floodFrames is how many frames an attack has where FLOODS does not say
	// otherwise.
	floodFrames = 3000
	// floodCPU is what 100,000 frames may cost the node, and floodSlack by how much
	// more a short attack may cost on a busy machine, where a few connections and the
	// clock's ticks of 10 ms weigh more.
	floodCPU   = time.Second
	floodSlack = 8
	// floodMemory is by how much the node may grow.
	floodMemory = 64 << 20
	// floodRate bounds the generator, which has to leave processors to the others.
	floodRate = 25_000
	// floodLate is how much slower others may be, in a long run; floodWait is what
	// nobody waits in a short one, beside which the generator and other tests run.
	floodLate = 1.2
	floodWait = time.Second
	// floodTries is how often a short one is made until nobody waited.
	floodTries = 3
)

const floodDocuments = `
kind: Listener
name: web
spec: {port: 8080, protocol: HTTP}
---
kind: Listener
name: https
spec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}}
---
kind: Listener
name: short
spec: {port: 8081, protocol: HTTP, timeouts: {requestHead: 1s, streamIdle: 1s}}
---
kind: Listener
name: shorts
spec: {port: 8444, protocol: HTTPS, tls: {certificates: [site]}, timeouts: {requestHead: 1s, streamIdle: 1s}}
---
kind: Listener
name: few
spec: {port: 8082, protocol: HTTP, limits: {connectionsPerClient: 10}}
---
kind: Route
name: local
spec: {hosts: [attack.test], match: {path: {exact: /local}}, respond: {status: 200, body: "here\n"}}
---
kind: Route
name: slow
spec: {hosts: [attack.test], match: {path: {exact: /slow}}, forward: [{upstream: slow}]}
---
kind: Route
name: big
spec: {hosts: [attack.test], match: {path: {exact: /big}}, forward: [{upstream: big}]}
---
kind: Upstream
name: slow
spec: {endpoints: [{address: %q}]}
---
kind: Upstream
name: big
spec: {endpoints: [{address: %q}]}
---
`

// field is a node and what others see of it while it is attacked.
type floodField struct {
	*fleettest.Fleet
	node   *fleettest.Node
	frames int64
	long   bool
	others load.Options
	rows   []string
}

func newFloodField(t *testing.T) *floodField {
	f := &floodField{Fleet: fleettest.New(t, fleettest.Options{Nodes: 1}), frames: floodFrames}
	rate := 100.0
	if n, err := strconv.ParseInt(os.Getenv("FLOODS"), 10, 64); err == nil {
		f.frames, f.long, rate = n, true, 1000
	}
	f.node = f.Nodes[0]
	big := f.Backend(9102, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		piece := make([]byte, 64<<10)
		for range 64 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	site := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"attack.test"}})
	f.Apply(certificateDocument(t, "site", site) + fmt.Sprintf(floodDocuments, silent(t, f.Net+".1:9103"), big) +
		loadDocuments(0, newBackend(t, f.Fleet, 9104).Addr(), newBackend(t, f.Fleet, 9105).Addr()))
	f.WaitNodes()
	f.others = load.Options{
		Targets: []string{f.node.Address + ":8080"}, Shapes: []load.Shape{{Host: "load.test", Path: "/a", Answer: 1 << 10}},
		Workers: 16, Rate: rate, Timeout: 20 * time.Second, Seed: 7,
	}
	return f
}

// silent is an endpoint that reads and does not answer.
func silent(t *testing.T, address string) string {
	t.Helper()
	return serveEach(t, address, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// dial opens connections to one port, with TLS or not.
func (f *floodField) dial(port int, secure bool, protocol string) func(context.Context) (net.Conn, error) {
	address := fmt.Sprintf("%s:%d", f.node.Address, port)
	sessions := tls.NewLRUClientSessionCache(8)
	return func(ctx context.Context) (net.Conn, error) {
		if !secure {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
		d := tls.Dialer{Config: &tls.Config{
			ServerName: attack.Host, NextProtos: []string{protocol}, ClientSessionCache: sessions, MinVersion: tls.VersionTLS13,
			InsecureSkipVerify: true,
		}}
		return d.DialContext(ctx, "tcp", address)
	}
}

// counter reads a series of the node.
func (f *floodField) counter(t *testing.T, series string) float64 {
	t.Helper()
	s := bufio.NewScanner(strings.NewReader(f.node.AdminText(t, "/metrics")))
	for s.Scan() {
		if value, ok := strings.CutPrefix(s.Text(), series+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no series %s", series)
	return 0
}

// used is what a node used while something ran.
type used struct {
	cpu  time.Duration
	grew int64
}

// watch runs something and says what the node used meanwhile.
func (f *floodField) watch(run func()) used {
	before, cpu := f.node.Resident(), f.node.CPU()
	most := before
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				most = max(most, f.node.Resident())
			}
		}
	})
	run()
	close(done)
	wg.Wait()
	return used{cpu: f.node.CPU() - cpu, grew: max(most, f.node.Resident()) - before}
}

// beside has others ask while something runs, and says how long 99 of 100 waited.
func (f *floodField) beside(t *testing.T, run func()) time.Duration {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	options := f.others
	options.Duration = time.Hour
	var result *load.Result
	var wg sync.WaitGroup
	wg.Go(func() {
		r, err := load.Run(ctx, options)
		if err != nil && ctx.Err() == nil {
			t.Errorf("others: %v", err)
		}
		result = r
	})
	run()
	stop()
	wg.Wait()
	if result == nil {
		return 0
	}
	if result.Failed > 0 {
		t.Errorf("%d of the others failed: %v %+v", result.Failed, result.Failures, result.Samples)
	}
	return time.Duration(result.Latency.P99) * time.Microsecond
}

// flood makes one attack and looks at everything.
func (f *floodField) flood(t *testing.T, kind string, a *attack.Attack, o attack.Options) {
	t.Helper()
	o.Frames, o.Rate = f.frames, floodRate
	if !f.long {
		o.Workers = 1 // each connection then has enough frames to be ended
	}
	before := 0.0
	if a.Want.Counter != "" {
		before = f.counter(t, a.Want.Counter)
	}
	var outcome attack.Outcome
	var err error
	var u used
	run := func() {
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		defer stop()
		u = f.watch(func() { outcome, err = a.Run(ctx, o) })
	}
	quiet, others := time.Duration(0), 0.0 // others' p99 without the attack, and what they cost in a second
	if f.long {
		var rest used
		quiet = f.beside(t, func() { rest = f.watch(func() { pause(t.Context(), 3*time.Second) }) })
		others = float64(rest.cpu) / 3
	}
	busy := f.beside(t, run)
	for try := 1; try < floodTries && !f.long && busy > floodWait; try++ {
		busy = f.beside(t, run) // a machine may stand still for a moment
	}
	if err != nil {
		t.Error(err)
	}
	counted := 0.0
	if a.Want.Counter != "" {
		for end := time.Now().Add(3 * time.Second); counted == 0 && time.Now().Before(end); pause(t.Context(), 10*time.Millisecond) {
			counted = f.counter(t, a.Want.Counter) - before
		}
		if counted == 0 {
			t.Errorf("%s did not grow", a.Want.Counter)
		}
	}
	per := time.Duration((float64(u.cpu) - others*outcome.Elapsed.Seconds()) / float64(outcome.Frames) * 1e5)
	row := fmt.Sprintf("| %s | %s | %d | %d | %s | %.1f | %s | %.0f | %.2f / %.2f ms |", kind, a.Name, outcome.Frames, outcome.Connections,
		per.Round(time.Millisecond), float64(u.grew)/(1<<20), told(&outcome), counted, milliseconds(busy), milliseconds(quiet))
	f.rows = append(f.rows, row)
	t.Log(row)
	f.judge(t, a, &outcome)
	most := floodCPU
	if !f.long {
		most *= floodSlack
	}
	if per > most && !a.Want.Work {
		t.Errorf("100,000 frames cost %s, at most %s is expected", per, most)
	}
	if u.grew > floodMemory {
		t.Errorf("the node grew by %d MiB", u.grew>>20)
	}
	switch {
	case !f.long && busy > floodWait:
		t.Errorf("others waited for %s", busy)
	case f.long && float64(busy) > floodLate*float64(quiet):
		t.Errorf("others' p99 was %.2f times that without", float64(busy)/float64(quiet))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// told says in short what the target told.
func told(o *attack.Outcome) string {
	var parts []string
	for code, n := range o.Codes {
		parts = append(parts, fmt.Sprintf("GOAWAY %d: %d", code, n))
	}
	for code, n := range o.Resets {
		parts = append(parts, fmt.Sprintf("RST %d: %d", code, n))
	}
	for status, n := range o.Statuses {
		parts = append(parts, fmt.Sprintf("%d: %d", status, n))
	}
	slices.Sort(parts)
	return strings.Join(append(parts, fmt.Sprintf("ended %d", o.Ended)), ", ")
}

// judge holds what the target told against what it should.
func (f *floodField) judge(t *testing.T, a *attack.Attack, o *attack.Outcome) {
	t.Helper()
	want := a.Want
	if want.Ends && o.Ended == 0 {
		t.Errorf("no connection was ended: %s", told(o))
	}
	if a.HTTP2 && want.Ends && want.Code != attack.NoCode && o.Codes[want.Code] == 0 {
		t.Errorf("no GOAWAY with code %d: %s", want.Code, told(o))
	}
	if a.HTTP2 && want.Resets && o.Resets[want.Reset] == 0 {
		t.Errorf("no reset with code %d: %s", want.Reset, told(o))
	}
	if want.Status != 0 && o.Statuses[want.Status] == 0 {
		t.Errorf("no %d: %s", want.Status, told(o))
	}
}

// TestFloodsAreEndedCountedAndCheap makes every attack in turn; each has to be
// ended with its code and counted by its reason, and neither costs the node much
// nor makes others wait. FLOODS says how many frames each has; then the same is done
// over TLS too.
func TestFloodsAreEndedCountedAndCheap(t *testing.T) {
	f := newFloodField(t)
	f.each(t, "HTTP2", attack.HTTP2(), attack.Options{Dial: f.dial(8080, false, "")})
	f.each(t, "HTTP1", attack.HTTP1(), attack.Options{Dial: f.dial(8080, false, "")})
	f.each(t, "TLS", attack.TLS(), attack.Options{Dial: f.dial(8443, false, ""), Connections: max(f.frames/50, 100)})
	if f.long {
		f.each(t, "HTTP2-TLS", attack.HTTP2(), attack.Options{Dial: f.dial(8443, true, "h2")})
		f.each(t, "HTTP1-TLS", attack.HTTP1(), attack.Options{Dial: f.dial(8443, true, "http/1.1")})
	}
	t.Logf("\n%s\n%s", floodHead, strings.Join(f.rows, "\n"))
}

// each makes attacks in turn.
func (f *floodField) each(t *testing.T, kind string, attacks []*attack.Attack, o attack.Options) {
	t.Run(kind, func(t *testing.T) {
		for _, a := range attacks {
			t.Run(a.Name, func(t *testing.T) { f.flood(t, kind, a, o) })
		}
	})
}

const floodHead = "| by | attack | frames | connections | CPU per 100,000 | MiB more | told | counted | others' p99, and without |\n|---|---|---|---|---|---|---|---|---|"

// TestSlowClientsAreEndedAndCounted has clients that take their time in every way
// that has a bound, all at once; others are served meanwhile.
func TestSlowClientsAreEndedAndCounted(t *testing.T) {
	const each = 40
	f := newFloodField(t)
	var wg sync.WaitGroup
	start := func(kind string, a *attack.Attack, port int) {
		wg.Go(func() {
			o := attack.Options{Dial: f.dial(port, false, ""), Frames: 1 << 40, Connections: each, Workers: each, Patience: 20 * time.Second}
			if a.Deaf {
				o.Frames = each
			}
			ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
			defer stop()
			outcome, err := a.Run(ctx, o)
			if err != nil {
				t.Errorf("%s: %v", a.Name, err)
			}
			t.Logf("%s: %s: %s after %s", kind, a.Name, told(&outcome), outcome.Elapsed.Round(time.Millisecond))
			f.judge(t, a, &outcome)
			if a.Want.Ends && outcome.Ended != each {
				t.Errorf("%s: %d of %d connections were ended", a.Name, outcome.Ended, each)
			}
		})
	}
	counted := map[string]float64{}
	attacks := append(attack.SlowHTTP1(), attack.SlowHTTP2()...)
	for _, a := range append(attacks, attack.SlowTLS()...) {
		counted[a.Want.Counter] += each
	}
	before := map[string]float64{}
	for series := range counted {
		before[series] = f.counter(t, series)
	}
	var u used
	busy := f.beside(t, func() {
		u = f.watch(func() {
			for _, a := range attacks {
				start("plain", a, 8081)
			}
			for _, a := range attack.SlowTLS() {
				start("TLS", a, 8444)
			}
			wg.Wait()
		})
	})
	t.Logf("others' p99 %s; the node used %s and grew by %d KiB", busy, u.cpu, u.grew>>10)
	for series, n := range counted {
		fleettest.Wait(t, 10*time.Second, fmt.Sprintf("%s to grow by %.0f", series, n), func() bool { return f.counter(t, series)-before[series] >= n })
	}
	if u.grew > floodMemory {
		t.Errorf("the node grew by %d MiB", u.grew>>20)
	}
}
