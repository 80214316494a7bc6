package loadgen

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

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
