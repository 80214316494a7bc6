//go:build linux

package bystander

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"
)

// relay passes requests on, each after a while.
func relay(t *testing.T, to string, after time.Duration) (address string) {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(after)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// freeAddress is one on which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask has clients ask until 100 are answered, and says what they saw.
func ask(t *testing.T, o Options) Result {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4)) // Serve keeps one for itself
	lines, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, answers := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- Serve(o, int(lines.Fd()), answers); answers.Close() }()
	results := json.NewDecoder(bufio.NewReader(out))
	var r Result
	if err := results.Decode(&r); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(in, "ask\n")
	time.Sleep(time.Duration(100 / o.Rate * float64(time.Second)))
	_, _ = io.WriteString(in, "stop\n")
	if err := results.Decode(&r); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	lines.Close()
	return r
}

func TestWhatClientsWaitCountsFromWhenItWasDue(t *testing.T) {
	const slow = 20 * time.Millisecond
	endpoint := freeAddress(t)
	o := Options{Target: relay(t, endpoint, slow), Host: "a", Endpoints: []string{endpoint}, Answer: 1 << 10, Rate: 1000, Connections: 1, Timeout: 10 * time.Second}
	r := ask(t, o)
	// One connection takes 50 requests a second of 1,000 that are due: the last waits for all before.
	n := len(r.Waited)
	if least := time.Duration(n-1) * slow * 9 / 10; r.Failed > 0 || n < 10 || slices.Max(r.Waited) < least || slices.Max(r.ForTarget) < least {
		t.Errorf("%d failed, %d were answered; nobody waits for %s: %v", r.Failed, n, least, r.Waited)
	}
	o.Connections = 64
	o.Endpoints[0] = freeAddress(t)
	o.Target = relay(t, o.Endpoints[0], slow)
	if r := ask(t, o); r.Failed > 0 || len(r.Waited) < 10 || slices.Min(r.ForTarget) < slow*9/10 {
		t.Errorf("%d failed; somebody waits less than %s: %v", r.Failed, slow, r.ForTarget)
	}
}

func TestWhatIsNotAnsweredHasFailed(t *testing.T) {
	if r := ask(t, Options{Target: freeAddress(t), Host: "a", Rate: 1000, Connections: 1, Timeout: 10 * time.Second}); r.Failed < 10 || r.Failure == "" || len(r.Waited) > 0 {
		t.Errorf("%+v", r)
	}
}
