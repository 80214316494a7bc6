package rivals

import (
	"bytes"
	"embed"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

// Name is a proxy that is measured.
type Name string

// The proxies.
const (
	Proxyfleet Name = "proxyfleet"
	Nginx      Name = "nginx"
	HAProxy    Name = "haproxy"
	Caddy      Name = "caddy"
	GoDefault  Name = "go-default"
	GoTuned    Name = "go-tuned"
)

// Title is how a table calls it.
func (n Name) Title() string {
	switch n {
	case HAProxy:
		return "HAProxy"
	case Caddy:
		return "Caddy"
	case GoDefault:
		return "Go ReverseProxy, default"
	case GoTuned:
		return "Go ReverseProxy, tuned"
	}
	return string(n)
}

// Names are all of them.
func Names() []Name { return []Name{Proxyfleet, Nginx, HAProxy, Caddy, GoDefault, GoTuned} }

// The header rule of every proxy that has one.
const (
	HeaderName  = "x-served-by"
	HeaderValue = "bench"
)

// Setting is what a proxy is asked to do.
type Setting struct {
	Listen, Backend netip.AddrPort
	// Admin is where proxyfleet's node tells its metrics.
	Admin netip.AddrPort
	// Dir is the proxy's own directory; it must be there.
	Dir string
	// Connections is how many clients keep busy at once, Idle how many they keep
	// besides. Streams is how many requests are under way on each; 0: one.
	Connections, Idle, Streams int
	// Certificate: clients come by TLS 1.3, with one cipher and one curve, so that
	// all do the same arithmetic; nil: they come in plaintext.
	Certificate *Certificate
	// HTTP2: clients speak HTTP/2, which needs a Certificate. BackendHTTP2: the
	// backend speaks it, in cleartext with prior knowledge (RFC 9113 section 3.3).
	HTTP2, BackendHTTP2 bool
	// Bodies: answers are long.
	Bodies bool
	// Log: an access log to a file. Header: one rule that sets a field of answers.
	// Timeouts: every timeout and limit that there is, spelled out.
	Log, Header, Timeouts bool
	Layout                Layout
}

// Launch is how a proxy is started.
type Launch struct {
	Args []string
	// Stdout is a file for the standard output, which is the access log of a proxy that
	// can log to nothing else; empty: it goes where messages go.
	Stdout string
	// LogFile is where the access log is; empty: there is none.
	LogFile string
}

//go:embed templates
var templates embed.FS

// spare connections are for probes and for those that end while others begin.
const spare = 512

// values are what the templates read.
type values struct {
	Setting
	LogFile                 string
	HeaderName, HeaderValue string
	Address                 netip.Addr
	Port                    uint16
	Clients                 int // connections of clients that are allowed
	// UnderWay is how many requests can be under way at once.
	UnderWay int
	// Those and the ones to the backend; and an eighth above, since nginx closes idle
	// connections when fewer than a sixteenth of its slots are free.
	Slots       int
	Descriptors int
	NamesHash   int
	Hosts       int
	Root        bool
}

// HostNames are the virtual hosts; "_" stands for any.
func (v values) HostNames() []string {
	if v.Hosts == 0 {
		return []string{"_"}
	}
	names := make([]string, v.Hosts)
	for i := range names {
		names[i] = v.Layout.HostName(i)
	}
	return names
}

// FirstHost is the first of HostNames.
func (v values) FirstHost() string { return v.HostNames()[0] }

// Routes are the layout's.
func (v values) Routes() []Route { return v.Layout.Routes() }

func (s Setting) values() values {
	underWay := s.Connections * max(s.Streams, 1)
	v := values{
		Setting: s, HeaderName: HeaderName, HeaderValue: HeaderValue,
		Address: s.Listen.Addr(), Port: s.Listen.Port(),
		LogFile:  filepath.Join(s.Dir, "access.log"),
		Clients:  s.Connections + s.Idle + spare,
		UnderWay: underWay,
		Slots:    (s.Connections + underWay + s.Idle + spare) * 8 / 7,
		Hosts:    s.Layout.Hosts, Root: os.Geteuid() == 0,
	}
	v.Descriptors = v.Slots + spare
	for v.NamesHash = 512; v.NamesHash < 2*v.Hosts; {
		v.NamesHash *= 2
	}
	return v
}

// Render fills a template.
func Render(name string, data any) ([]byte, error) {
	t, err := template.New(name+".tmpl").Option("missingkey=error").ParseFS(templates, "templates/"+name+".tmpl")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Prepare writes the files of a proxy into s.Dir. program is its path.
func Prepare(n Name, program string, s Setting) (Launch, error) {
	if s.HTTP2 && s.Certificate == nil {
		return Launch{}, fmt.Errorf("%s: HTTP/2 without TLS", n)
	}
	v := s.values()
	var l Launch
	if s.Log {
		l.LogFile = v.LogFile
	}
	write := func(name string) (string, error) {
		text, err := Render(name, v)
		if err != nil {
			return "", err
		}
		path := filepath.Join(s.Dir, name)
		return path, os.WriteFile(path, text, 0o644)
	}
	switch n {
	case Proxyfleet:
		path, err := write("resources.yaml")
		log := "off"
		if s.Log {
			log = v.LogFile
		}
		// Rotating is left to whoever measures, who takes the file after each round.
		l.Args = []string{
			program, "--resources", path, "--loops", "1", "--node-id", "bench", "--admin-address", s.Admin.String(),
			"--access-log", log, "--access-log-max-size", "off", "--drain-timeout", "1s", "--log-level", "warn",
		}
		return l, err
	case Nginx:
		if s.BackendHTTP2 {
			return l, fmt.Errorf("%s: it speaks HTTP/1.1 to backends", n)
		}
		path, err := write("nginx.conf")
		l.Args = []string{program, "-p", s.Dir, "-e", filepath.Join(s.Dir, "error.log"), "-c", path}
		return l, err
	case HAProxy:
		if _, err := write("hosts.map"); err != nil {
			return l, err
		}
		path, err := write("haproxy.cfg")
		l.Args = []string{program, "-db", "-f", path}
		l.Stdout = l.LogFile
		return l, err
	case Caddy:
		if s.Certificate != nil || s.BackendHTTP2 {
			return l, fmt.Errorf("%s: there is no configuration of it for TLS", n)
		}
		path, err := write("Caddyfile")
		l.Args = []string{program, "run", "--adapter", "caddyfile", "--config", path}
		return l, err
	case GoDefault, GoTuned:
		if s.Log || s.Header || s.Layout.Hosts > 0 || s.Certificate != nil || s.BackendHTTP2 {
			return l, fmt.Errorf("%s: it has neither log nor rules nor hosts nor TLS", n)
		}
		l.Args = []string{program, "--listen", s.Listen.String(), "--backend", s.Backend.String()}
		if n == GoTuned {
			l.Args = append(l.Args, "--tuned", "--connections", strconv.Itoa(s.Connections))
		}
		return l, nil
	}
	return l, fmt.Errorf("there is no proxy %q", n)
}

// Script writes the requests of a layout and wrk's script that sends them, and
// returns the script's path.
func Script(dir string, l Layout) (string, error) {
	var lines strings.Builder
	for _, q := range l.Requests() {
		fmt.Fprintf(&lines, "%s %s\n", q.Host, q.Path)
	}
	requests := filepath.Join(dir, "requests.txt")
	if err := os.WriteFile(requests, []byte(lines.String()), 0o644); err != nil {
		return "", err
	}
	text, err := Render("wrk.lua", struct{ RequestsFile string }{requests})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "wrk.lua")
	return path, os.WriteFile(path, text, 0o644)
}
