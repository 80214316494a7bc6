package loadgen

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
)

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
