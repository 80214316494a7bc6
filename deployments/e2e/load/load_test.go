package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func backend(t testing.TB, o BackendOptions) *Backend {
	t.Helper()
	b, err := NewBackend(context.Background(), "127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func run(t testing.TB, o Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mixed are bodies of all kinds and sizes, both ways.
func mixed() []Shape {
	return []Shape{
		{Name: "small", Weight: 10, Answer: 1024},
		{Name: "empty"},
		{Name: "head", Method: "HEAD", Answer: 5000},
		{Name: "chunked answer", Answer: 40_000, AnswerChunked: true},
		{Name: "large answer", Answer: 1 << 20},
		{Name: "post", Body: 100, Answer: 10},
		{Name: "chunked post", Body: 70_000, Chunked: true, Answer: 1},
		{Name: "large post", Body: 1 << 20, Answer: 1},
		{Name: "both", Body: 200_001, Chunked: true, Answer: 200_001, AnswerChunked: true},
		{Name: "no content", Path: "/?status=204", Status: 204},
		{Name: "until close", Path: "/?until=close", Answer: 3000},
		{Name: "slow", Path: "/?delay=3ms", Answer: 7},
	}
}

func TestAnHonestServerFailsNothing(t *testing.T) {
	a, b := backend(t, BackendOptions{Name: "a"}), backend(t, BackendOptions{Name: "b"})
	r := run(t, Options{
		Targets: []string{a.Addr(), b.Addr()}, Shapes: mixed(),
		Rate: 1000, Requests: 1000, Workers: 16, NewConnections: 0.2, CountHeader: "X-Load-Backend",
	})
	if r.Succeeded != 1000 || r.Failed != 0 {
		t.Fatalf("%d succeeded, %d failed: %v %v", r.Succeeded, r.Failed, r.Failures, r.Samples)
	}
	if got := a.Requests() + b.Requests(); got != 1000 {
		t.Errorf("the backends served %d, want 1000", got)
	}
	if r.Counts["a"] != 500 || r.Counts["b"] != 500 {
		t.Errorf("counts %v, want 500 each", r.Counts)
	}
	if opened := a.Opened() + b.Opened(); r.ConnectionsOpened != opened || r.BackendConnections != opened {
		t.Errorf("%d connections opened, %d named by answers, the backends accepted %d",
			r.ConnectionsOpened, r.BackendConnections, opened)
	}
	for _, s := range r.Shapes {
		if s.Succeeded == 0 {
			t.Errorf("shape %q was never sent", s.Name)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestKeptConnectionsAreKept(t *testing.T) {
	b := backend(t, BackendOptions{})
	r := run(t, Options{Targets: []string{b.Addr()}, Requests: 2000, Workers: 8})
	if r.Failed != 0 || r.ConnectionsOpened > 8 || r.ConnectionsEnded != 0 || b.Opened() != r.ConnectionsOpened {
		t.Errorf("%d failed; %d opened, %d ended, %d accepted; want at most 8 and none ended: %v",
			r.Failed, r.ConnectionsOpened, r.ConnectionsEnded, b.Opened(), r.Samples)
	}
}

func TestConnectionsThatTheServerEndsAreCounted(t *testing.T) {
	b := backend(t, BackendOptions{MaxRequests: 10})
	r := run(t, Options{Targets: []string{b.Addr()}, Requests: 500, Workers: 1})
	if r.Failed != 0 || r.ConnectionsEnded != 50 || r.ConnectionsOpened != 50 {
		t.Errorf("%d failed, %d ended, %d opened; want 0, 50, 50", r.Failed, r.ConnectionsEnded, r.ConnectionsOpened)
	}
}

// head and tail of an honest answer to request 1 with no body, to be falsified.
func honest(body string) string {
	var s sum
	s.add([]byte(body))
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Load-Id: 1\r\nX-Load-Received: 0-0\r\nX-Load-Sent: %s\r\nContent-Length: %d\r\n\r\n%s",
		appendSum(nil, s), len(body), body)
}

func TestEveryLieIsFound(t *testing.T) {
	say := func(text string) func(uint64, net.Conn) bool {
		return func(_ uint64, c net.Conn) bool {
			_, _ = c.Write([]byte(text))
			return true
		}
	}
	replace := func(old, fresh string) func(uint64, net.Conn) bool {
		text := honest("0123456789")
		if !bytes.Contains([]byte(text), []byte(old)) {
			panic(old)
		}
		return say(string(bytes.Replace([]byte(text), []byte(old), []byte(fresh), 1)))
	}
	for _, tt := range []struct {
		name string
		lie  func(uint64, net.Conn) bool
		want Class // empty: succeeds
	}{
		{"the truth", replace("OK", "OK"), ""},
		{"another status", replace("200 OK", "503 No"), Wrong},
		{"another's answer", replace("X-Load-Id: 1", "X-Load-Id: 2"), Wrong},
		{"no echo", replace("X-Load-Id: 1\r\n", ""), Wrong},
		{"a flipped byte", replace("456", "4x6"), Wrong},
		{"a body that is not what was asked for", say(honest("012345678")), Wrong},
		{"another request body", replace("Received: 0-0", "Received: 1-0"), Wrong},
		{"bytes missing", replace("789", ""), Truncated},
		{"bytes too many", replace("789", "7890"), Malformed},
		{"a second answer", say(honest("0123456789") + honest("0123456789")), Malformed},
		{"half a head", say("HTTP/1.1 200 OK\r\nContent-Le"), Truncated},
		{"nothing", say(""), Closed},
		{"no HTTP", say("SSH-2.0-OpenSSH_9.2p1\r\n\r\n"), Malformed},
		{"a bad status line", replace("200", "2x0"), Malformed},
		{"two lengths", replace("Content-Length: 10", "Content-Length: 10\r\nContent-Length: 10"), Malformed},
		{"length and chunks", replace("Content-Length: 10", "Content-Length: 10\r\nTransfer-Encoding: chunked"), Malformed},
		{"a bad chunk size", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Malformed},
		{"a last chunk missing", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n"), Truncated},
		{"chunk data not ended", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n0123456789\r\n"), Malformed},
		{"a field without colon", replace("X-Load-Id: 1", "X-Load-Id 1"), Malformed},
		{"an endless head", say("HTTP/1.1 200 OK\r\nX: " + string(bytes.Repeat([]byte("y"), 40_000))), Malformed},
		{"silence", func(_ uint64, c net.Conn) bool {
			_, _ = c.Read(make([]byte, 1)) // until the client gives up
			return true
		}, Timeout},
		{"a reset", func(_ uint64, c net.Conn) bool {
			_ = c.(*net.TCPConn).SetLinger(0)
			return true
		}, Reset},
		{"a reset in mid-answer", func(_ uint64, c net.Conn) bool {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"))
			_ = c.(*net.TCPConn).SetLinger(0)
			return true
		}, Reset},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := backend(t, BackendOptions{Intercept: tt.lie})
			o := Options{Targets: []string{b.Addr()}, Shapes: []Shape{{Answer: 10}}, Requests: 1, Workers: 1}
			if tt.want == Timeout {
				o.Timeout = 200 * time.Millisecond
			}
			r := run(t, o)
			if tt.want == "" {
				if r.Succeeded != 1 {
					t.Fatalf("failed: %v", r.Samples)
				}
				return
			}
			if r.Failed != 1 || r.Failures[tt.want] != 1 || len(r.Samples) != 1 {
				t.Errorf("got %v %v, want one %s", r.Failures, r.Samples, tt.want)
			}
		})
	}
}

func TestARefusedConnectionIsCountedAsSuch(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := run(t, Options{Targets: []string{l.Addr().String()}, Requests: 3, Workers: 1})
	if r.Failures[Refused] != 3 {
		t.Errorf("got %v, want 3 refused", r.Failures)
	}
}

func TestForeignAnswersAreCheckedByBody(t *testing.T) {
	b := backend(t, BackendOptions{Intercept: func(_ uint64, c net.Conn) bool {
		_, _ = c.Write([]byte("HTTP/1.1 301 Moved\r\nContent-Length: 5\r\nConnection: close\r\n\r\npong\n"))
		return true
	}})
	for _, tt := range []struct {
		shape Shape
		ok    bool
	}{
		{Shape{Foreign: true, Status: 301, Want: "pong\n"}, true},
		{Shape{Foreign: true, Status: 301}, true},
		{Shape{Foreign: true, Status: 301, Want: "pang\n"}, false},
		{Shape{Foreign: true, Want: "pong\n"}, false},
	} {
		r := run(t, Options{Targets: []string{b.Addr()}, Shapes: []Shape{tt.shape}, Requests: 1})
		if (r.Succeeded == 1) != tt.ok || (r.Failures[Wrong] == 1) == tt.ok {
			t.Errorf("%+v: %d succeeded, %v", tt.shape, r.Succeeded, r.Failures)
		}
	}
}

func TestALostKeptConnectionIsRetriedWhenAskedFor(t *testing.T) {
	for _, retry := range []bool{false, true} {
		b := backend(t, BackendOptions{Intercept: func(n uint64, _ net.Conn) bool { return n%2 == 0 }})
		r := run(t, Options{Targets: []string{b.Addr()}, Requests: 3, Workers: 1, RetryClosed: retry})
		if retry && (r.Succeeded != 3 || r.Retried != 2) || !retry && (r.Succeeded != 2 || r.Failures[Closed] != 1) {
			t.Errorf("retry %v: %d succeeded, %d retried, %v", retry, r.Succeeded, r.Retried, r.Failures)
		}
		if r.ConnectionsEnded == 0 {
			t.Errorf("retry %v: no kept connection ended", retry)
		}
	}
}

// A closed loop would see one slow request; the schedule sees all that came due
// meanwhile.
func TestAStallIsChargedToAllThatItDelays(t *testing.T) {
	var once sync.Once
	b := backend(t, BackendOptions{Intercept: func(n uint64, _ net.Conn) bool {
		if n == 100 {
			once.Do(func() { <-time.After(300 * time.Millisecond) }) // the stall itself
		}
		return false
	}})
	r := run(t, Options{Targets: []string{b.Addr()}, Rate: 1000, Schedule: Uniform, Requests: 1000, Workers: 1})
	if r.Failed != 0 {
		t.Fatal(r.Samples)
	}
	// 300 of 1000 were due in the stall, and waited 150 ms on average.
	if r.Latency.P90 < 100_000 || r.Latency.Max < 290_000 {
		t.Errorf("latency %+v: the stall is not in it", r.Latency)
	}
	if r.Service.P50 > r.Latency.P90 {
		t.Errorf("service %+v: want only one slow one", r.Service)
	}
	if r.Gap < 290*time.Millisecond {
		t.Errorf("gap %v, want 300 ms", r.Gap)
	}
}

func TestWarmupIsNotInTheLatencies(t *testing.T) {
	b := backend(t, BackendOptions{})
	r := run(t, Options{
		Targets: []string{b.Addr()}, Rate: 200, Schedule: Uniform,
		Duration: 600 * time.Millisecond, Warmup: 200 * time.Millisecond,
	})
	if r.Failed != 0 || r.Succeeded != 120 || r.Measured != 80 {
		t.Errorf("%d failed, %d succeeded, %d measured; want 0, 120, 80", r.Failed, r.Succeeded, r.Measured)
	}
}

func TestGapsHaveTheMeanAndSpreadOfTheirSchedule(t *testing.T) {
	for _, tt := range []struct {
		schedule Schedule
		spread   float64 // of the gaps, of their mean
	}{{Poisson, 1}, {Uniform, 0}} {
		o, err := Options{Targets: []string{"x"}, Requests: 1, Rate: 1000, Schedule: tt.schedule, Seed: 7}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		p, again := newPlanner(&o), newPlanner(&o)
		const n = 100_000
		var mean, square float64
		for range n {
			g := p.gap()
			if g != again.gap() {
				t.Fatal("the same seed gave another schedule")
			}
			mean += float64(g) / n
			square += float64(g) * float64(g) / n
		}
		spread := (square - mean*mean) / (mean * mean)
		if mean < 0.98e6 || mean > 1.02e6 || spread < tt.spread-0.05 || spread > tt.spread+0.05 {
			t.Errorf("schedule %d: mean gap %v, variance %.3f of its square; want 1 ms and %v",
				tt.schedule, time.Duration(mean), spread, tt.spread)
		}
	}
}

func TestShapesAreChosenByWeight(t *testing.T) {
	o, err := Options{
		Targets: []string{"x"}, Requests: 1, NewConnections: 0.25,
		Shapes: []Shape{{Weight: 95}, {Weight: 5}},
	}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	p := newPlanner(&o)
	var second, fresh int
	for range 10_000 {
		k := p.ticket()
		second += k.shape
		if k.fresh {
			fresh++
		}
	}
	if second < 430 || second > 570 || fresh < 2350 || fresh > 2650 {
		t.Errorf("of 10000: %d of the second shape, %d on new connections; want about 500 and 2500", second, fresh)
	}
}

func TestTheEndOfTheContextEndsARun(t *testing.T) {
	for _, rate := range []float64{0, 500} {
		ctx, cancel := context.WithCancel(context.Background())
		b := backend(t, BackendOptions{Intercept: func(n uint64, _ net.Conn) bool {
			if n == 50 {
				cancel()
			}
			return false
		}})
		r, err := Run(ctx, Options{Targets: []string{b.Addr()}, Rate: rate, Duration: time.Hour})
		cancel()
		if err != nil || r.Succeeded == 0 || r.Failed != 0 || r.Elapsed > 10*time.Second {
			t.Errorf("rate %v: %v, %+v", rate, err, r)
		}
	}
}

func TestOptionsThatBoundNothingAreRefused(t *testing.T) {
	for _, o := range []Options{
		{Requests: 1},
		{Targets: []string{"x"}},
		{Targets: []string{"x"}, Requests: 1, Rate: -1},
		{Targets: []string{"x"}, Requests: 1, NewConnections: 1.5},
	} {
		if _, err := Run(context.Background(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestEachRequestHasABodyOfItsOwn(t *testing.T) {
	seen := map[sum]uint64{}
	for id := range uint64(1000) {
		s := bodySum(id, 1000)
		if other, twice := seen[s]; twice {
			t.Fatalf("ids %d and %d have one body", other, id)
		}
		seen[s] = id
	}
	for _, size := range []int{0, 1, patternSize - 1, patternSize, 3*patternSize + 17} {
		if s := bodySum(patternSize-1, size); s.length != int64(size) {
			t.Errorf("a body of %d, want %d", s.length, size)
		}
	}
}

// Client and backend together; the client's part is about half.
func BenchmarkSaturated(b *testing.B) {
	server := backend(b, BackendOptions{})
	b.ResetTimer()
	r := run(b, Options{
		Targets: []string{server.Addr()}, Shapes: []Shape{{Answer: 1024}}, Requests: b.N, Workers: 64,
	})
	if r.Failed != 0 {
		b.Fatal(r.Samples)
	}
	b.ReportMetric(r.Rate, "req/s")
}

func BenchmarkOpenLoop(b *testing.B) {
	server := backend(b, BackendOptions{})
	b.ResetTimer()
	r := run(b, Options{
		Targets: []string{server.Addr()}, Shapes: []Shape{{Answer: 1024}}, Requests: b.N, Workers: 64, Rate: 15_000,
	})
	if r.Failed != 0 {
		b.Fatal(r.Samples)
	}
	b.ReportMetric(r.Rate, "req/s")
	b.ReportMetric(float64(r.Latency.P50), "p50-µs")
	b.ReportMetric(float64(r.Latency.P99), "p99-µs")
	b.ReportMetric(float64(r.Late.P99), "late-p99-µs")
}
