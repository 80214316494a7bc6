package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

// screen is what the demo printed, safe to read meanwhile.
type screen struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed wakeup.Signal // something was printed
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Send()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// stage is a folder with stand-ins, and a config of a demo with two nodes on
// ports that were free a moment ago.
func stage(t *testing.T, parts map[string]string) (Config, *screen) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the demo needs Linux")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for _, name := range []string{controlPlaneBinary, dataPlaneBinary, "proxyctl"} {
		if err := os.Symlink(self, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, play), data, 0o600); err != nil {
		t.Fatal(err)
	}
	ports := freePorts(t, 6)
	local := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	out := &screen{changed: wakeup.NewSignal()}
	return Config{
		Dir: filepath.Join(t.TempDir(), "fleet"), Nodes: 2, Self: filepath.Join(bin, "proxyctl"), Out: out,
		ReadyTimeout: 20 * time.Second, grace: stopGrace,
		layout: layout{
			rest: local(ports[0]), grpc: local(ports[1]), web: ports[2], admin: ports[3],
			backends: []string{local(ports[4]), local(ports[5])},
		},
	}, out
}

// freePorts are none of those that the kernel gives to whoever asks for any, from 32768 on: no
// other test's listener takes one meanwhile.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range 100 {
		port := 10_000 + rand.IntN(22_000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		defer l.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("no free ports")
	return nil
}

func TestDemoStartsSaysWhatToTryAndTakesEverythingDown(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg, out := stage(t, nil)
	cfg.ExitAfterReady = true
	if err := Run(t.Context(), cfg); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"revision 1 runs on 2 of 2 nodes",
		"http://127.0.0.11:", "http://127.0.0.12:",
		"curl -H 'Host: shop.test' ",
		"PROXYCTL_CONFIG=" + cfg.Dir + "/proxyctl.yaml ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if err := checkPorts(t.Context(), newPlan(cfg.layout, cfg.Dir, cfg.Self, 2, 1).Ports, portHolder); err != nil {
		t.Errorf("something is left: %v", err)
	}
	contexts, err := client.ReadContexts(filepath.Join(cfg.Dir, "proxyctl.yaml"))
	if err != nil || contexts.Current != "demo" {
		t.Errorf("contexts %+v, %v", contexts, err)
	}
	for _, log := range []string{"controlplane.log", "node-1.log", "node-1.access.log", "node-2.log", "backend.log"} {
		if _, err := os.Stat(filepath.Join(cfg.Dir, log)); err != nil {
			t.Error(err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(cfg.Dir, "node-1.access.log")); err != nil || string(data) != "{\"access\":\"log\"}\n" {
		t.Errorf("access log %q, %v", data, err)
	}
}

func TestDemoForgetsNodesOfAnEarlierOne(t *testing.T) {
	cfg, out := stage(t, map[string]string{"node-9": partGone})
	cfg.ExitAfterReady = true
	if err := Run(t.Context(), cfg); err != nil || !strings.Contains(out.String(), "forgot node-9 of an earlier demo") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDemoRemovesATemporaryDirectory(t *testing.T) {
	cfg, out := stage(t, nil)
	cfg.Dir, cfg.ExitAfterReady = "", true
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	if err := Run(t.Context(), cfg); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestDemoEndsWellOnCancel(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg, out := stage(t, map[string]string{"node-2": partIgnores})
	cfg.grace = 300 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	until(t, out, "revision 1, 2 of 2 nodes in sync, 0 requests/s")
	cancel()
	if err := <-done; err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if !strings.Contains(out.String(), "taking everything down") {
		t.Errorf("got %s", out)
	}
}

// until waits for a text on the screen.
func until(t *testing.T, out *screen, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for !strings.Contains(out.String(), text) {
		select {
		case <-out.changed:
		case <-late:
			t.Fatalf("%q does not come; got\n%s", text, out)
		}
	}
}

func TestDemoSaysWhyAProcessDied(t *testing.T) {
	for _, process := range []string{controlPlaneBinary, "node-2"} {
		t.Run(process, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			cfg, _ := stage(t, map[string]string{process: partDies})
			err := Run(t.Context(), cfg)
			var died *diedError
			if !errors.As(err, &died) || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the disk is on fire") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDemoSaysWhatItWaitedFor(t *testing.T) {
	cfg, _ := stage(t, nil)
	cfg.ReadyTimeout = time.Millisecond
	err := Run(t.Context(), cfg)
	if !errors.Is(err, errNotReady) || !strings.Contains(err.Error(), "after 1ms: waited for the control plane") {
		t.Errorf("got %v", err)
	}
}

func TestDemoKnowsWhichNodesAreMissing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := controlplanetest.New(t)
	server.SetNodes(controlplanetest.Node("node-2", api.Synced, 3, 3), controlplanetest.Node("node-3", api.Synced, 2, 2), controlplanetest.Node("node-4", api.Updating, 2, 3))
	looks := 0
	server.Before(func(*http.Request) *api.Error {
		if looks++; looks == 2 {
			cancel()
		}
		return nil
	})
	c, err := client.New(client.Options{Server: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := demo{client: c, plan: newPlan(defaultLayout(), "/d", "/bin/proxyctl", 4, 1)}
	missing, err := d.waitForNodes(ctx, api.Version{Epoch: controlplanetest.Epoch, Revision: 3})
	want := "node-1 (has not said hello), node-3 (SYNCED), node-4 (UPDATING)"
	if !errors.Is(err, context.Canceled) || missing != want {
		t.Errorf("got %q, %v, want %q", missing, err, want)
	}
}

func TestDemoSaysWhyANodeRefuses(t *testing.T) {
	cfg, _ := stage(t, map[string]string{"node-2": partRefusing})
	if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "node-2 refuses revision 1: Listener/web: port 8080 in use") {
		t.Errorf("got %v", err)
	}
}

func TestDemoNamesEveryPortThatIsInTheWay(t *testing.T) {
	cfg, out := stage(t, nil)
	var held []net.Listener
	for _, address := range []string{cfg.layout.rest, "0.0.0.0:" + strconv.Itoa(cfg.layout.web)} {
		l, err := net.Listen("tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		held = append(held, l)
	}
	err := Run(t.Context(), cfg)
	if err == nil || len(held) != 2 {
		t.Fatal("no error")
	}
	self := " (process " + strconv.Itoa(os.Getpid()) + ")"
	for _, want := range []string{
		cfg.layout.rest + ", for the control plane's REST API: in use by ",
		"127.0.0.11:" + strconv.Itoa(cfg.layout.web) + ", for node-1's listener: in use by ",
		"127.0.0.12:" + strconv.Itoa(cfg.layout.web) + ", for node-2's listener: in use by ",
		self,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
	if strings.Contains(out.String(), "starting") {
		t.Errorf("it started: %s", out)
	}
}

func TestDemoSaysThatProgramsAreNotBuilt(t *testing.T) {
	cfg, _ := stage(t, nil)
	if err := os.Remove(filepath.Join(filepath.Dir(cfg.Self), dataPlaneBinary)); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("got %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{Nodes: -1}, {Nodes: 10}, {Loops: -1}, {Loops: 65}, {ReadyTimeout: -1}} {
		if c.Check() == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	if err := (Config{}).Check(); err != nil {
		t.Error(err)
	}
}

func TestTheFirstConfigurationIsSupported(t *testing.T) {
	yaml, leftOut := firstConfiguration()
	docs, problems := resource.Decode([]byte(yaml), resource.DecodeOptions{})
	if len(problems) > 0 || len(docs)+len(leftOut) != 10 || len(leftOut) > 1 {
		t.Errorf("%d documents, left out %v, problems %v", len(docs), leftOut, problems)
	}
}

func TestAPlanNamesEveryProcessAndPort(t *testing.T) {
	l := defaultLayout()
	l.gossip = 0
	p := newPlan(l, "/d", "/bin/proxyctl", 3, 2)
	var ports []string
	for _, port := range p.Ports {
		ports = append(ports, port.Address)
	}
	want := "127.0.0.1:7400 127.0.0.1:7401 127.0.0.11:8080 127.0.0.11:7402 127.0.0.12:8080 127.0.0.12:7402 127.0.0.13:8080 127.0.0.13:7402 " +
		"127.0.0.1:9001 127.0.0.1:9002 127.0.0.1:9003 127.0.0.1:9004 127.0.0.1:9005"
	if got := strings.Join(ports, " "); got != want {
		t.Errorf("ports\n got %s\nwant %s", got, want)
	}
	if len(p.Processes) != 5 {
		t.Fatalf("%d processes, want 5", len(p.Processes))
	}
	want = "--node-id node-2 --listen-address 127.0.0.12 --admin-address 127.0.0.12:7402 --control-plane 127.0.0.1:7401 --state-dir /d/node-2 --loops 2"
	if got := strings.Join(p.Processes[2].Args, " "); got != want {
		t.Errorf("node-2\n got %s\nwant %s", got, want)
	}
}

func TestPlanWithAVirtualIP(t *testing.T) {
	l := defaultLayout()
	l.gossip = 7946
	p := newPlan(l, "/d", "/bin/proxyctl", 3, 1)
	if p.VIP != "http://127.0.0.100:8080" || p.Key != "/d/gossip.key" {
		t.Errorf("virtual IP %s, key %s", p.VIP, p.Key)
	}
	want := "--gossip-address 127.0.0.12:7946 --gossip-key-file /d/gossip.key --gossip-join 127.0.0.11:7946,127.0.0.13:7946"
	if got := strings.Join(p.Processes[2].Args, " "); !strings.HasSuffix(got, want) {
		t.Errorf("node-2\n got %s\nwant … %s", got, want)
	}
	for _, address := range []string{"127.0.0.100:8080", "127.0.0.13:7946"} {
		if !slices.ContainsFunc(p.Ports, func(port Port) bool { return port.Address == address }) {
			t.Errorf("%s is not checked", address)
		}
	}
}

func TestDemoWithAVirtualIPSaysWhoHoldsItAndHowToFailItOver(t *testing.T) {
	cfg, out := stage(t, nil)
	cfg.ExitAfterReady = true
	cfg.layout.gossip = freePorts(t, 1)[0]
	if err := Run(t.Context(), cfg); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	url := "http://127.0.0.100:" + strconv.Itoa(cfg.layout.web)
	for _, want := range []string{url + " (held by node-2, process ", "curl -H 'Host: shop.test' " + url + "/", "kill -9 ", "proxyctl vip\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	info, err := os.Stat(filepath.Join(cfg.Dir, keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info, err)
	}
	before, err := os.ReadFile(filepath.Join(cfg.Dir, keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := writeKey(filepath.Join(cfg.Dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(filepath.Join(cfg.Dir, keyFile)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key of an earlier demo did not stay: %v", err)
	}
}
