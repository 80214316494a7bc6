package loadgen

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// backendFor runs a backend until the end of the test; count asks it.
func backendFor(t *testing.T, http2 ...bool) (address netip.AddrPort, count func() (requests, open int)) {
	t.Helper()
	return runBackend(t, RunBackend, BackendOptions{Size: 1024, HTTP2: len(http2) > 0})
}

func runBackend(t *testing.T, run func(BackendOptions) error, o BackendOptions) (address netip.AddrPort, count func() (requests, open int)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	controlRead, controlWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outRead, outWrite := io.Pipe()
	done := make(chan error, 1)
	go func() {
		o.Listen, o.Control, o.Out = address, controlRead, outWrite
		err := run(o)
		outWrite.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		controlWrite.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		controlRead.Close()
	})
	answers := bufio.NewReader(outRead)
	count = func() (requests, open int) {
		t.Helper()
		if _, err := io.WriteString(controlWrite, "count\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(answers, &requests, &open); err != nil {
			t.Fatal(err)
		}
		return requests, open
	}
	count() // it listens
	return address, count
}

func TestAScheduleIsKeptAndEveryAnswerCounted(t *testing.T) {
	address, count := backendFor(t)
	r, err := Run(Options{
		Target: address, Connections: 8, Requests: [][]byte{Request("a.test", "/"), Request("b.test", "/2")},
		Rate: 2000, Duration: 600 * time.Millisecond, Warmup: 200 * time.Millisecond, Timeout: 5 * time.Second, Seed: 7,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed != 0 || r.Succeeded < 1050 || r.Succeeded > 1350 || r.Measured < 680 || r.Measured > 920 {
		t.Errorf("%+v: want about 1200 answers, 800 of them measured", r)
	}
	if r.P50 <= 0 || r.P50 > r.P99 || r.P99 > r.P999 || r.P999 > r.Max {
		t.Errorf("latencies %+v", r)
	}
	if n, _ := count(); uint64(n) != r.Succeeded {
		t.Errorf("the backend answered %d, want %d", n, r.Succeeded)
	}
}

// serveEach serves each connection until the listener is closed.
func serveEach(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

// secured makes a listener of TLS in front of a backend, which it copies to.
func secured(t *testing.T, backend netip.AddrPort, noTickets ...bool) netip.AddrPort {
	t.Helper()
	ca := httptest.NewUnstartedServer(nil)
	ca.StartTLS() // has a certificate
	certificates := ca.TLS.Certificates
	ca.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: certificates, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: len(noTickets) > 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serveEach(l, func(c net.Conn) {
		b, err := net.Dial("tcp", backend.String())
		if err != nil {
			return
		}
		defer b.Close()
		go func() { _, _ = io.Copy(b, c); b.Close() }()
		_, _ = io.Copy(c, b)
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestLoadGoesByTLS(t *testing.T) {
	backend, count := backendFor(t)
	target := secured(t, backend)
	for _, rate := range []float64{0, 1000} {
		before, _ := count()
		r, err := Run(Options{
			Target: target, Connections: 4, TLS: true, Requests: [][]byte{Request("a.test", "/")},
			Rate: rate, Duration: 200 * time.Millisecond, Timeout: 5 * time.Second,
		})
		if err != nil || r.Failed != 0 || r.Succeeded < 50 {
			t.Fatalf("%+v, %v", r, err)
		}
		if n, _ := count(); uint64(n-before) != r.Succeeded {
			t.Errorf("the backend answered %d, want %d", n-before, r.Succeeded)
		}
	}
	if _, err := Run(Options{
		Target: backend, Connections: 1, TLS: true, Requests: [][]byte{Request("a.test", "/")}, Duration: time.Second, Timeout: time.Second,
	}); err == nil {
		t.Error("what speaks no TLS was taken for it")
	}
}

// Go's client is a stranger that counts windows, numbers and lengths.
func TestTheBackendSpeaksHTTP2(t *testing.T) {
	address, count := backendFor(t, true)
	transport := &http.Transport{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: 64 << 10}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	const workers, each = 200, 5 // more at once than a window of 64 KiB has room for
	errs := make(chan error, workers)
	for range workers {
		go func() {
			for range each {
				r, err := client.Get("http://" + address.String() + "/")
				if err != nil {
					errs <- err
					return
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.ProtoMajor != 2 || r.StatusCode != 200 || len(body) != 1024 || r.ContentLength != 1024 || r.Header.Get("Date") == "" {
					errs <- fmt.Errorf("%s %s, %d bytes, %v: %w", r.Proto, r.Status, len(body), r.Header, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n, _ := count(); n != workers*each {
		t.Errorf("%d answered, want %d", n, workers*each)
	}
}

func TestABackendOfHTTP2RefusesWhatIsNone(t *testing.T) {
	address, count := backendFor(t, true)
	for _, bytes := range []string{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", preface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01"} {
		c, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, bytes); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: the connection stays", bytes)
		}
		c.Close()
	}
	if n, _ := count(); n != 0 {
		t.Errorf("%d answered", n)
	}
}

func TestAClosedLoopUsesEveryConnection(t *testing.T) {
	address, count := backendFor(t)
	r, err := Run(Options{
		Target: address, Connections: 5, Requests: [][]byte{Request("a.test", "/")},
		Duration: 100 * time.Millisecond, Timeout: 5 * time.Second,
	})
	if err != nil || r.Failed != 0 || r.Succeeded < 100 || r.Waited != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if n, _ := count(); uint64(n) != r.Succeeded {
		t.Errorf("the backend answered %d, want %d", n, r.Succeeded)
	}
}

// A closed loop would see one slow request; the schedule sees all that came due
// meanwhile.
func TestAStallIsChargedToAllThatItDelays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const stall = 150 * time.Millisecond
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 4096)
		for n := 0; ; n++ {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if n == 50 {
				<-time.After(stall)
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"); err != nil {
				return
			}
		}
	}()
	r, err := Run(Options{
		Target: netip.MustParseAddrPort(l.Addr().String()), Connections: 1, Requests: [][]byte{Request("a.test", "/")},
		Rate: 1000, Duration: 400 * time.Millisecond, Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	// About 150 of 400 were due in the stall.
	if r.Failed != 0 || r.Waited < 50 || r.P99 < 100_000 || r.Max < 149_000 {
		t.Errorf("%+v: the stall is not in it", r)
	}
}

func TestFailuresAreCountedAndTheConnectionOpenedAgain(t *testing.T) {
	for name, answer := range map[string]string{
		"status":    "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
		"malformed": "HTTP/1.1 200 OK\r\n\r\n",
		"closed":    "",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go serveEach(l, func(c net.Conn) {
			buf := make([]byte, 4096)
			if _, err := c.Read(buf); err != nil {
				return
			}
			_, _ = io.WriteString(c, answer)
		})
		r, err := Run(Options{
			Target: netip.MustParseAddrPort(l.Addr().String()), Connections: 2, Requests: [][]byte{Request("a.test", "/")},
			Rate: 200, Duration: 100 * time.Millisecond, Timeout: 5 * time.Second,
		})
		l.Close()
		if err != nil || r.Succeeded != 0 || r.Failed == 0 || r.Failures[name] == 0 || !strings.HasPrefix(r.FirstFailure, name) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestConnectionsAreHeldUntilTheControlEnds(t *testing.T) {
	address, count := backendFor(t)
	in, control := io.Pipe()
	outRead, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := RunHold(HoldOptions{Target: address, Request: Request("a.test", "/"), Control: in, Out: out})
		out.CloseWithError(err)
		done <- err
	}()
	answers := bufio.NewReader(outRead)
	for _, want := range []int{3, 10} {
		fmt.Fprintln(control, want)
		var held int
		if _, err := fmt.Fscan(answers, &held); err != nil || held != want {
			t.Fatal(held, err)
		}
		if n, open := count(); n != want || open != want {
			t.Errorf("%d answered and %d open, want %d", n, open, want)
		}
	}
	control.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for _, open := count(); open > 0; _, open = count() {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are still open", open)
		}
	}
}

func TestAShortConnectionIsForOneRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Uint64
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "hi")
		}),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateActive {
				connections.Add(1)
			}
		},
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	plain := netip.MustParseAddrPort(l.Addr().String())
	for _, secure := range []bool{false, true} {
		target := plain
		if secure {
			target = secured(t, plain)
		}
		for _, rate := range []float64{0, 200} {
			connections.Store(0)
			r, err := Run(Options{
				Target: target, Connections: 2, Short: true, TLS: secure, Requests: [][]byte{Request("a.test", "/", "Connection: close")},
				Rate: rate, Duration: 150 * time.Millisecond, Timeout: 5 * time.Second,
			})
			if err != nil || r.Failed != 0 || r.Succeeded < 5 || connections.Load() != r.Succeeded {
				t.Errorf("TLS %t, rate %v: %+v, %v, %d connections with requests", secure, rate, r, err, connections.Load())
			}
		}
	}
}

// visited runs visits until want is done, and returns what became of them.
func visited(t *testing.T, o VisitOptions, want uint64) Result {
	t.Helper()
	in, control := io.Pipe()
	outRead, out := io.Pipe()
	o.Control, o.Out = in, out
	done := make(chan error, 1)
	go func() { done <- RunVisits(o) }()
	answers := bufio.NewReader(outRead)
	deadline := time.Now().Add(20 * time.Second)
	for n, failed := uint64(0), uint64(0); n < want && failed == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d done and %d failed, want %d", n, failed, want)
		}
		fmt.Fprintln(control, "count")
		if _, err := fmt.Fscan(answers, &n, &failed); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(control, "end")
	var r Result
	if err := json.NewDecoder(answers).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVisitsAreMadeAgainAndAgain(t *testing.T) {
	backend, _ := serverFor(t, 3<<20)
	for name, o := range map[string]VisitOptions{
		"download":            {Target: backend, Visit: Download},
		"full handshakes":     {Target: secured(t, backend), Visit: Full},
		"resumed handshakes":  {Target: secured(t, backend), Visit: Resumed},
		"download by TLS":     {Target: secured(t, backend), Visit: Download, TLS: true},
		"who does not resume": {Target: secured(t, backend, true), Visit: Resumed},
		"who is not there":    {Target: netip.MustParseAddrPort("127.0.0.1:1"), Visit: Full},
	} {
		t.Run(name, func(t *testing.T) {
			o.Workers, o.ServerName, o.Host, o.Path = 2, "example.com", "a.test", "/"
			want := uint64(10)
			if o.Visit == Download {
				want = 7 << 20 // more than each worker's first answer
			}
			r := visited(t, o, want)
			if bad := strings.HasPrefix(name, "who"); bad != (r.Failed > 0) || bad != (r.FirstFailure != "") || !bad && r.Succeeded < want {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Pages go through a server of both protocols; over a distance, all of a page
// takes one round trip by either.
func TestPagesAreOpenedOverADistance(t *testing.T) {
	const objects = 2 << 10
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(objects))
		_, _ = w.Write(make([]byte, objects))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	near := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	in, control := io.Pipe()
	done := make(chan error, 1)
	const delay = 20 * time.Millisecond
	go func() {
		done <- RunRelay(RelayOptions{Listen: near, Target: netip.MustParseAddrPort(server.Listener.Addr().String()), Delay: delay, Control: in})
	}()
	defer func() {
		control.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	for start := time.Now(); time.Since(start) < 10*time.Second; { // it listens
		if c, err := net.Dial("tcp", near.String()); err == nil {
			c.Close()
			break
		}
	}
	for _, visit := range []Visit{Pipelined, Multiplexed} {
		r := visited(t, VisitOptions{Target: near, Visit: visit, Workers: 2, ServerName: "example.com", Host: "a.test", Path: "/"}, 4*PageObjects)
		if r.Failed != 0 || r.Succeeded%PageObjects != 0 || r.Measured != r.Succeeded || r.P50 < 2*float64(delay/time.Microsecond) || r.P95 < r.P50 {
			t.Errorf("%s: %+v", visit, r)
		}
	}
}

// serverFor runs a server of long bodies until the end of the test.
func serverFor(t *testing.T, size int) (address netip.AddrPort, count func() (requests, open int)) {
	t.Helper()
	return runBackend(t, RunServer, BackendOptions{Size: size})
}

func TestAServerAnswersAfterTheWholeBody(t *testing.T) {
	address, count := serverFor(t, 100)
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	post := Post("a.test", "/", 32<<10)
	if _, err := c.Write(post[:len(post)-1]); err != nil {
		t.Fatal(err)
	}
	if n, _ := count(); n != 0 {
		t.Error("it answered before the body had come")
	}
	if err := exchange(c, post[len(post)-1:], make([]byte, readAnswer)); err != nil {
		t.Error(err)
	}
	if n, open := count(); n != 1 || open != 1 {
		t.Errorf("%d requests, %d open", n, open)
	}
}

func TestConnectionsOfTLSAreHeld(t *testing.T) {
	backend, count := serverFor(t, 1024)
	in, control := io.Pipe()
	outRead, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- RunHold(HoldOptions{
			Target: secured(t, backend), TLS: true, ServerName: "example.com", Request: Post("a.test", "/", 32<<10), Control: in, Out: out,
		})
	}()
	fmt.Fprintln(control, 3)
	var held int
	if _, err := fmt.Fscan(outRead, &held); err != nil || held != 3 {
		t.Fatal(held, err)
	}
	if n, open := count(); n != 3 || open != 3 {
		t.Errorf("%d answered and %d open, want 3", n, open)
	}
	control.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	good := Options{
		Target: netip.MustParseAddrPort("127.0.0.1:1"), Connections: 1, Requests: [][]byte{nil},
		Duration: time.Second, Timeout: time.Second,
	}
	for name, spoil := range map[string]func(*Options){
		"target":      func(o *Options) { o.Target = netip.AddrPort{} },
		"connections": func(o *Options) { o.Connections = 0 },
		"requests":    func(o *Options) { o.Requests = nil },
		"rate":        func(o *Options) { o.Rate = -1 },
		"warmup":      func(o *Options) { o.Warmup = time.Second },
	} {
		o := good
		spoil(&o)
		if _, err := Run(o); err == nil {
			t.Errorf("%s: %+v was taken", name, o)
		}
	}
}
