package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/attack"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/bystander"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const floodDocuments = `
kind: Listener
name: web
spec: {port: 8080, protocol: HTTP, limits: {%[1]s}}
---
kind: Listener
name: https
spec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}, limits: {%[1]s}}
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
name: held
spec: {hosts: [attack.test], match: {path: {exact: /held}}, respond: {status: 200, body: %[2]q}}
---
kind: Route
name: slow
spec: {hosts: [attack.test], match: {path: {exact: /slow}}, forward: [{upstream: slow}]}
---
kind: Route
name: big
spec: {hosts: [attack.test], match: {path: {exact: /big}}, timeouts: {request: 10m}, forward: [{upstream: big}]}
---
kind: Upstream
name: slow
spec: {endpoints: [{address: %[3]q}]}
---
kind: Upstream
name: big
spec: {endpoints: [{address: %[4]q}]}
---
`

// floodField is a node and what others see of it while it is attacked.
type floodField struct {
	*fleettest.Fleet
	node   *fleettest.Node
	frames int64
	rate   float64
	long   bool
	faults int // faultsPerClient of the listeners that are attacked; 0: none
	others *others
	big    atomic.Int64 // bytes of bodies that came to an endpoint
	rows   []string

	attacker int  // the number of the attack: each comes from an address of its own
	apart    bool // the node has a processor of its own
	awake    bool // processors do not sleep
}

// sighting is what others waited and were answered, and the node used, while something
// ran.
type sighting struct {
	waited  []time.Duration // by others, each from when a request was due
	forNode []time.Duration // what of it they waited for the node
	used
}

func newFloodField(t *testing.T) *floodField {
	f := &floodField{Fleet: fleettest.New(t, fleettest.Options{Nodes: 1}), frames: floodFrames, rate: floodRateShort, faults: attackedFaults}
	rate, warmup := 100.0, time.Duration(0)
	if n, err := strconv.ParseInt(os.Getenv("FLOODS"), 10, 64); err == nil {
		f.frames, f.long, f.rate, rate, warmup = n, true, floodRate, 1000, floodWarmup
	}
	if text := os.Getenv("FLOODS_FAULTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("FLOODS_FAULTS: %v", err)
		}
		f.faults = n
	}
	limits := ""
	if f.faults > 0 {
		limits = fmt.Sprintf("faultsPerClient: %d", f.faults)
	}
	f.node = f.Nodes[0]
	big := f.Backend(9102, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, countedReader{r.Body, &f.big})
		piece := make([]byte, 64<<10)
		for range 64 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}))
	site := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"attack.test"}})
	endpoints := []string{f.Net + ".1:9104", f.Net + ".1:9105"}
	f.Apply(certificateDocument(t, "site", site) + fmt.Sprintf(floodDocuments, limits, strings.Repeat("x", 1000), silent(t, f.Net+".1:9103"), big) +
		loadDocuments(0, endpoints[0], endpoints[1]))
	f.WaitNodes()
	f.others = newOthers(t, bystander.Options{
		Target: f.node.Address + ":8080", Host: "load.test", Endpoints: endpoints, Answer: 1 << 10,
		Connections: 16, Rate: rate, Warmup: warmup, Timeout: 20 * time.Second,
	})
	if f.long {
		if f.apart = separate(t, f.Fleet, f.others); f.apart {
			f.awake = keepAwake(t)
		}
		f.quiet(t) // the first is another than those that follow
	}
	return f
}

// see has others ask while something runs. What the node uses is watched for a while more.
func (f *floodField) see(t *testing.T, more time.Duration, run func()) (s sighting) {
	var r *bystander.Result
	s.used = f.watch(func() {
		r = f.others.beside(t, run)
		wakeup.After(t.Context(), more)
	})
	s.waited, s.forNode = r.Waited, r.ForTarget
	return s
}

// countedReader counts what is read.
type countedReader struct {
	io.Reader
	n *atomic.Int64
}

func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(int64(n))
	return n, err
}

// silent is an endpoint that reads and does not answer.
func silent(t *testing.T, address string) string {
	t.Helper()
	return serveEach(t, address, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

// source is where an attack comes from: what clients do is held against their addresses, and
// neither others nor the next attack have its.
func (f *floodField) source() netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("%s.%d", f.Net, 100+f.attacker%150))
}

// dial opens connections to one port, with TLS or not.
func (f *floodField) dial(port int, secure bool, protocol string) func(context.Context) (net.Conn, error) {
	return f.dialTo(fmt.Sprintf("%s:%d", f.node.Address, port), secure, protocol)
}

// aside dials somebody else, who runs where the attacker does.
func (f *floodField) aside(t *testing.T) func(context.Context) (net.Conn, error) {
	t.Helper()
	site := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{attack.Host}})
	pair, err := tls.X509KeyPair([]byte(site.Chain), []byte(site.Key))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}}
	return f.dialTo(serveEach(t, f.Net+".1:0", func(c net.Conn) {
		s := tls.Server(c, config)
		_, _ = io.CopyN(io.Discard, s, attack.AsideBytes)
		_ = s.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, c) // else what is on its way would be answered by a reset
	}), true, "h2")
}

func (f *floodField) dialTo(target string, secure bool, protocol string) func(context.Context) (net.Conn, error) {
	address := netip.MustParseAddrPort(target)
	sessions := tls.NewLRUClientSessionCache(8)
	return func(ctx context.Context) (net.Conn, error) {
		c, err := attack.Connect(ctx, f.source(), address)
		if err != nil || !secure {
			return c, err
		}
		s := tls.Client(c, &tls.Config{
			ServerName: attack.Host, NextProtos: []string{protocol}, ClientSessionCache: sessions, MinVersion: tls.VersionTLS13,
			InsecureSkipVerify: true,
		})
		if err := s.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, err
		}
		return s, nil
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
	before, cpu := f.node.Resident(), f.node.Used()
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
	return used{cpu: f.node.Used() - cpu, grew: max(most, f.node.Resident()) - before}
}
