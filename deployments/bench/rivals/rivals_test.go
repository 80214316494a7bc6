package rivals

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// settings are the combinations that are measured.
func settings(t *testing.T) map[string]Setting {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	base := Setting{
		Listen: free, Backend: netip.MustParseAddrPort("127.0.0.1:9"), Admin: netip.MustParseAddrPort("127.0.0.1:10"),
		Connections: 64,
	}
	with := func(change func(*Setting)) Setting {
		s := base
		change(&s)
		return s
	}
	certificate, err := NewCertificate(t.TempDir(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Setting{
		"bare": base,
		"like for like": with(func(s *Setting) {
			s.Log, s.Header, s.Layout = true, true, Layout{Hosts: 1000}
		}),
		"everything": with(func(s *Setting) {
			s.Log, s.Header, s.Timeouts, s.Layout = true, true, true, Layout{Hosts: 20, RoutesPerHost: 10}
		}),
		"TLS": with(func(s *Setting) {
			s.Certificate, s.Log, s.Header, s.Layout = certificate, true, true, Layout{Hosts: 1000}
		}),
		"HTTP/2":           with(func(s *Setting) { s.Certificate, s.HTTP2, s.Streams = certificate, true, 32 }),
		"many connections": with(func(s *Setting) { s.Connections = 5000 }),
	}
}

// The programs themselves say whether what the templates give is right.
func TestConfigurationsAreTaken(t *testing.T) {
	for _, tt := range []struct {
		name    Name
		program string
		check   func(Launch) []string
	}{
		{Nginx, "nginx", func(l Launch) []string { return append(l.Args[1:], "-t") }},
		{HAProxy, "haproxy", func(l Launch) []string { return append([]string{"-c"}, l.Args[2:]...) }},
		{Caddy, "caddy", func(l Launch) []string { return append([]string{"validate"}, l.Args[2:]...) }},
	} {
		t.Run(string(tt.name), func(t *testing.T) {
			program, err := exec.LookPath(tt.program)
			if err != nil {
				t.Skipf("%s is not installed", tt.program)
			}
			for name, s := range settings(t) {
				if tt.name == Caddy && s.Certificate != nil {
					continue
				}
				s.Dir = t.TempDir()
				l, err := Prepare(tt.name, program, s)
				if err != nil {
					t.Fatal(err)
				}
				command := exec.Command(program, tt.check(l)...)
				command.Env = append(os.Environ(), "HOME="+s.Dir)
				out, err := command.CombinedOutput()
				// Caddy warns of how the file is indented.
				if err != nil || tt.name != Caddy && strings.Contains(strings.ToLower(string(out)), "warn") {
					t.Errorf("%s: %v\n%s", name, err, out)
				}
			}
		})
	}
}

// Only HAProxy speaks HTTP/2 to backends beside us.
func TestABackendOfHTTP2IsForThoseThatSpeakIt(t *testing.T) {
	s := settings(t)["HTTP/2"]
	s.BackendHTTP2 = true
	for n, taken := range map[Name]bool{Proxyfleet: true, HAProxy: true, Nginx: false, Caddy: false, GoTuned: false} {
		s.Dir = t.TempDir()
		if _, err := Prepare(n, string(n), s); (err == nil) != taken {
			t.Errorf("%s: %v", n, err)
		}
	}
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	s.Dir = t.TempDir()
	l, err := Prepare(HAProxy, program, s)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, append([]string{"-c"}, l.Args[2:]...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	s.Certificate = nil
	if _, err := Prepare(HAProxy, program, s); err == nil {
		t.Error("HTTP/2 without TLS was taken, which browsers do not speak")
	}
}

func TestResourcesAreTaken(t *testing.T) {
	for name, s := range settings(t) {
		s.Dir = t.TempDir()
		l, err := Prepare(Proxyfleet, "proxy-dataplane", s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(s.Dir, "resources.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		documents, problems := resource.Decode(text, resource.DecodeOptions{File: name, FilesAllowed: true})
		for _, p := range problems {
			t.Error(p)
		}
		want := 2 + s.Layout.Count()
		if s.Certificate != nil {
			want++
		}
		if len(documents) != want {
			t.Errorf("%s: %d resources, want %d", name, len(documents), want)
		}
		args := strings.Join(l.Args, " ")
		if log := strings.Contains(args, "--access-log off"); log == s.Log {
			t.Errorf("%s: %v", name, l.Args)
		}
		// Else what is counted as a round's log is only its last part.
		if !strings.Contains(args, "--access-log-max-size off") {
			t.Errorf("%s: the log is rotated: %v", name, l.Args)
		}
	}
}

func TestRequestsOfAllLayoutsHaveOneLength(t *testing.T) {
	lengths := map[int]bool{}
	for _, l := range []Layout{{RoutesPerHost: 10}, {RoutesPerHost: 100_000}, {Hosts: 10_000, RoutesPerHost: 10}} {
		requests := l.Requests()
		if len(requests) != l.Count() {
			t.Errorf("%+v: %d requests, want %d", l, len(requests), l.Count())
		}
		for _, q := range requests {
			lengths[len(q.Host)+len(q.Path)] = true
		}
	}
	if len(lengths) != 1 {
		t.Errorf("lengths %v", lengths)
	}
}

func TestAScriptNamesItsRequests(t *testing.T) {
	dir := t.TempDir()
	path, err := Script(dir, Layout{Hosts: 2, RoutesPerHost: 2})
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(script), filepath.Join(dir, "requests.txt")) {
		t.Errorf("%v: %s", err, script)
	}
	lines, err := os.ReadFile(filepath.Join(dir, "requests.txt"))
	const want = "host-000000.test /route-000000/item\nhost-000000.test /route-000001/item\n" +
		"host-000001.test /route-000000/item\nhost-000001.test /route-000001/item\n"
	if err != nil || string(lines) != want {
		t.Errorf("%v: %s", err, lines)
	}
}

func TestWhatARivalCannotDoIsRefused(t *testing.T) {
	s := settings(t)["like for like"]
	if _, err := Prepare(GoDefault, "goproxy", s); err == nil {
		t.Error("a proxy without a log was started for one")
	}
	if _, err := Prepare("envoy", "envoy", s); err == nil {
		t.Error("a proxy that nobody knows was started")
	}
}
