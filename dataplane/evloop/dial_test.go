//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// startUnix serves on a UNIX socket.
func startUnix(t *testing.T, h http.HandlerFunc) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return "unix:" + path
}

func TestAnEndpointMayBeAUnixSocket(t *testing.T) {
	n := startNode(t, 1)
	address := startUnix(t, echo)
	n.apply(nil, forwardAll(newUpstream("u", address)))
	for i := range 2 { // a new connection, and a kept one
		resp, err := http.Post("http://"+n.address+"/a", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "hello" || resp.Header.Get("X-For") != "127.0.0.1" {
			t.Errorf("%q %v", body, resp.Header)
		}
		if r := n.records.wait(t, i+1); r.Endpoint != address {
			t.Errorf("endpoint %q", r.Endpoint)
		}
	}
	// Without Host there is no name to give but this.
	if got := n.talk("GET /a HTTP/1.0\r\n\r\n"); !strings.Contains(got, "X-Seen: GET localhost /a") {
		t.Errorf("%q", got)
	}
	n.apply(nil, forwardAll(newUpstream("u", "unix:"+filepath.Join(t.TempDir(), "none"))))
	if resp := n.get("/"); resp.StatusCode != 502 {
		t.Error(resp.StatusCode)
	}
	if r := n.records.wait(t, 4); r.Reason != exchange.ReasonConnectFailure || r.Detail != "ENOENT" {
		t.Errorf("%s %s", r.Reason, r.Detail)
	}
}

func TestAConnectionIsNotUsedBeyondItsLifetime(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.RemoteAddr)
	}))
	u.Pool.MaxLifetime = 300 * time.Millisecond
	n.apply(nil, forwardAll(u))
	conn := n.dialNode()
	r := bufio.NewReader(conn)
	ask := func() string {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	begun := time.Now()
	first := ask()
	if again := ask(); again != first && time.Since(begun) < 200*time.Millisecond {
		t.Error("a young connection is not kept")
	}
	eventually(t, "another connection", func() bool { return ask() != first })
	if took := time.Since(begun); took < 200*time.Millisecond {
		t.Errorf("it lived for %s", took)
	}
}

func TestLifetimesAreSpread(t *testing.T) {
	l := &Loop{random: rand.NewPCG(1, 2)}
	p := &endpointPool{}
	if l.lifetime(p) != 0 {
		t.Error("a limit where there is none")
	}
	p.config.MaxLifetime = time.Minute
	seen := map[int64]bool{}
	for range 100 {
		at := l.lifetime(p)
		if at < int64(54*time.Second) || at > int64(66*time.Second) {
			t.Fatalf("after %s", time.Duration(at))
		}
		seen[at] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d of 100 differ", len(seen))
	}
}

func TestSocketsHaveWhatTheirSettingsSay(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	setBuffers(fd, &table.Listener{ReceiveBuffer: 20_000, SendBuffer: 30_000})
	setUpstream(fd, &endpointPool{to: &table.Endpoint{}, socket: table.UpstreamSocket{
		KeepAlive: table.KeepAlive{Idle: 7 * time.Second, Interval: 3 * time.Second, Probes: 2}, UserTimeout: 9 * time.Second,
	}})
	for _, c := range []struct {
		name                string
		level, option, want int
	}{
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 40_000}, // the kernel doubles it
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 60_000},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 7},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 9000},
	} {
		if got, err := unix.GetsockoptInt(fd, c.level, c.option); err != nil || got != c.want {
			t.Errorf("%s: %d, %v", c.name, got, err)
		}
	}
}
