package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// machine reads what is known of this one; what cannot be read stays empty.
func (r *run) machine() report.Machine {
	read := func(path string) string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	cpu := read("/proc/cpuinfo")
	kernel := func(name string) string { return strings.TrimSpace(read("/proc/sys/" + name)) }
	kind, _ := fileSystem(r.config.Dir)
	return report.Machine{
		Processor:  lineValue(cpu, "model name", ":"),
		Cores:      r.cores,
		Memory:     procfs.ParseSizes(read("/proc/meminfo"))["MemTotal"],
		Virtual:    strings.Contains(lineValue(cpu, "flags", ":"), "hypervisor"),
		System:     strings.Trim(lineValue(read("/etc/os-release"), "PRETTY_NAME", "="), `"`),
		Kernel:     kernel("kernel/osrelease") + " " + runtime.GOARCH + ", TCP " + kernel("net/ipv4/tcp_congestion_control"),
		ProxyCore:  r.config.ProxyCore,
		LoadCore:   r.config.LoadCore,
		LogsOn:     kind,
		SampleRate: tick(read("/boot/config-" + kernel("kernel/osrelease"))),
	}
}

// tick says from a kernel's configuration how often it samples.
func tick(config string) string {
	if hz := lineValue(config, "CONFIG_HZ", "="); hz != "" {
		return "tick of " + hz + " Hz"
	}
	return ""
}

// lineValue finds the first line "name SEPARATOR value".
func lineValue(text, name, separator string) string {
	for line := range strings.Lines(text) {
		n, v, ok := strings.Cut(line, separator)
		if ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// asked says how a proxy tells its version, and where in what it says it stands;
// nil: its version is that of Go.
func asked(n rivals.Name) (argument string, find *regexp.Regexp) {
	switch n {
	case rivals.Proxyfleet:
		return "version", regexp.MustCompile(`(?m)^proxy-dataplane (.*)$`)
	case rivals.Nginx:
		return "-v", regexp.MustCompile(`nginx/(\S+)`)
	case rivals.HAProxy:
		return "-v", regexp.MustCompile(`HAProxy version (\S+)`)
	case rivals.Caddy:
		return "version", regexp.MustCompile(`^(\S+)`)
	}
	return "", nil
}

// versionTimeout is for a program to tell its version.
const versionTimeout = 10 * time.Second

// Find looks for the proxies. ours and goProxy are paths, the others are looked
// for where programs are.
func Find(ctx context.Context, ours, goProxy string) (map[rivals.Name]Program, error) {
	found := map[rivals.Name]Program{}
	for _, n := range rivals.Names() {
		path := map[rivals.Name]string{rivals.Proxyfleet: ours, rivals.GoDefault: goProxy, rivals.GoTuned: goProxy}[n]
		if path == "" {
			path = string(n)
		}
		path, err := exec.LookPath(path)
		if err != nil {
			if n == rivals.Proxyfleet || errors.Is(err, os.ErrPermission) {
				return nil, fmt.Errorf("%s: %w", n, err)
			}
			found[n] = Program{Absent: "not installed"}
			continue
		}
		p := Program{Path: path, Version: runtime.Version()}
		if argument, find := asked(n); find != nil {
			if p.Version, err = version(ctx, path, argument, find); err != nil {
				return nil, fmt.Errorf("%s: %w", n, err)
			}
		}
		found[n] = p
	}
	return found, nil
}

func version(ctx context.Context, path, argument string, find *regexp.Regexp) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	// wrk ends with an error after telling its version, so only what was said counts.
	out, err := exec.CommandContext(ctx, path, argument).CombinedOutput()
	if m := find.FindSubmatch(out); m != nil {
		return string(m[1]), nil
	}
	return "", errors.Join(fmt.Errorf("%s %s: no version in %.200q", path, argument, out), err, ctx.Err())
}

// Tool is a program that makes load.
type Tool string

// The tools.
const (
	// Wrk saturates by HTTP/1.1.
	Wrk Tool = "wrk"
	// H2load saturates by HTTP/2.
	H2load Tool = "h2load"
)

// FindTool looks for a tool.
func FindTool(ctx context.Context, t Tool) (Program, error) {
	argument, find := "-v", regexp.MustCompile(`wrk (\S.*) \[`)
	if t == H2load {
		argument, find = "--version", regexp.MustCompile(`h2load (\S+)`)
	}
	path, err := exec.LookPath(string(t))
	if err != nil {
		return Program{Absent: "not installed"}, nil
	}
	found, err := version(ctx, path, argument, find)
	return Program{Path: path, Version: found}, err
}

// Room says where configurations and logs of a run go: in memory if there is
// enough, since a disk that falls behind stops whoever writes to it.
func Room() string {
	const shared, enough = "/dev/shm", 4 << 30
	if kind, free := fileSystem(shared); kind == "tmpfs" && free >= enough {
		return shared
	}
	return os.TempDir()
}
