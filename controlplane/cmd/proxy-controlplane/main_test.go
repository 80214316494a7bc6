package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
	"github.com/proxyfleet/proxyfleet/proto/seal"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is the program, run within the test.
type process struct {
	*testing.T
	stop   context.CancelFunc
	done   chan struct{}
	code   int // after done
	stderr *syncBuffer
	addresses
}

// syncBuffer is written by the program and read by the test.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// launch starts the program on free ports and does not wait for it.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{T: t, stop: cancel, done: make(chan struct{}), stderr: &syncBuffer{}}
	args = append([]string{"--rest-address", "127.0.0.1:0", "--grpc-address", "127.0.0.1:0"}, args...)
	w := world{getenv: noEnv, stdout: io.Discard, stderr: p.stderr, waits: defaultWaits()}
	if slices.Contains(args, "--etcd-endpoints") { // which is asked again
		w.waits = waits{open: 300 * time.Millisecond, retry: 50 * time.Millisecond}
	}
	go func() {
		defer close(p.done)
		p.code = run(ctx, args, w)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.done
	})
	return p
}

func noEnv(string) (string, bool) { return "", false }

// start launches the program on a data directory and waits until it is ready.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	p := launch(t, append(args, "--data-dir", dir)...)
	p.ready(dir)
	return p
}

func (p *process) ready(dir string) {
	p.Helper()
	p.until("ready", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, addressesFile))
		return err == nil && json.Unmarshal(text, &p.addresses) == nil
	})
	p.until("answering", func() bool {
		response, err := http.Get("http://" + p.REST + api.PathReady)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// until waits for what happens in the program.
func (p *process) until(what string, ok func() bool) {
	p.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-p.done:
			p.Fatalf("it ended with %d before it was %s:\n%s", p.code, what, p.stderr)
		case <-deadline:
			p.Fatalf("not %s in time:\n%s", what, p.stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// end stops the program as a signal does.
func (p *process) end() int {
	p.Helper()
	p.stop()
	select {
	case <-p.done:
		return p.code
	case <-time.After(30 * time.Second):
		p.Fatalf("it does not end:\n%s", p.stderr)
		return 0
	}
}

func (p *process) call(method, path, body string) (int, []byte) {
	p.Helper()
	r, err := http.NewRequest(method, "http://"+p.REST+path, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	r.Header.Set("Content-Type", api.MediaYAML)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.Fatal(err)
	}
	return response.StatusCode, text
}

func (p *process) status() api.Status {
	p.Helper()
	var s api.Status
	if code, text := p.call("GET", api.PathStatus, ""); code != http.StatusOK || json.Unmarshal(text, &s) != nil {
		p.Fatalf("status: %d %s", code, text)
	}
	return s
}

const route = "kind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 200}}\n"

func TestItServesUntilToldToStopAndKeepsWhatItWasTold(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	p := start(t, dir)
	if code, text := p.call("POST", api.PathApply, route); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, text)
	}
	before := p.status()
	if before.Revision != 1 || before.Build.Version == "" {
		t.Errorf("status %+v", before)
	}
	if !strings.Contains(p.stderr.String(), "msg=ready rest="+p.REST+" grpc="+p.GRPC) {
		t.Errorf("no ready line with the addresses:\n%s", p.stderr)
	}
	if conn, err := net.Dial("tcp", p.GRPC); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, p.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, addressesFile)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", addressesFile, err)
	}

	again := start(t, dir)
	if after := again.status(); after.Version != before.Version {
		t.Errorf("was %+v, after a restart %+v", before.Version, after.Version)
	}
}

func TestAnOpenEventStreamDoesNotHoldUpTheEnd(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	p := start(t, t.TempDir())
	response, err := http.Get("http://" + p.REST + api.PathEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	begin := time.Now()
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, p.stderr)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the end took %s", took)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the stream was cut, not ended: %v", err)
	}
}

func TestTwoProcessesDoNotShareADirectoryOrAPort(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	p := start(t, dir)
	for _, c := range []struct{ says, flag, value string }{
		{"in use by another process", "--data-dir", dir},
		{"--rest-address", "--rest-address", p.REST},
		{"--grpc-address", "--grpc-address", p.GRPC},
	} {
		args := []string{"--data-dir", t.TempDir(), c.flag, c.value}
		second := launch(t, args...)
		select {
		case <-second.done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the second runs:\n%s", c.flag, second.stderr)
		}
		if second.code != exitFailed || !strings.Contains(second.stderr.String(), c.says) {
			t.Errorf("%s: exit status %d:\n%s", c.flag, second.code, second.stderr)
		}
	}
	if s := p.status(); s.Epoch == 0 {
		t.Errorf("the first suffered: %+v", s)
	}
}

func TestAnExternalEtcdMayComeLater(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	endpoint, peer := freeURL(t), freeURL(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "of-all.key")
	if _, err := seal.CreateFile(key); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "--data-dir", dir, "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	p.until("waiting", func() bool { return strings.Contains(p.stderr.String(), "waiting for it") })
	if !strings.Contains(p.stderr.String(), "connection refused") {
		t.Errorf("why it does not answer is not told:\n%s", p.stderr)
	}

	externalEtcd(t, endpoint, peer)
	t.Cleanup(func() { p.end() }) // before its etcd

	p.ready(dir)
	if code, text := p.call("POST", api.PathApply, route); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, text)
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !os.IsNotExist(err) {
		t.Errorf("an embedded etcd was started too: %v", err)
	}
	// A second replica sees the same.
	other := start(t, t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	if a, b := p.status(), other.status(); a.Version != b.Version || a.Revision != 1 {
		t.Errorf("replicas at %+v and %+v", a.Version, b.Version)
	}
	if code := other.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, other.stderr)
	}
	// One with a seal key of its own is none.
	stranger := filepath.Join(dir, "another.key")
	if _, err := seal.CreateFile(stranger); err != nil {
		t.Fatal(err)
	}
	third := launch(t, "--data-dir", t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", stranger)
	select {
	case <-third.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("a replica with another seal key runs:\n%s", third.stderr)
	}
	if third.code != exitFailed || !strings.Contains(third.stderr.String(), "the store is sealed under key") {
		t.Errorf("exit status %d:\n%s", third.code, third.stderr)
	}
}

func TestTheSealKeyIsMadeOnceAndNoOtherIsTaken(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	p := start(t, dir)
	path := filepath.Join(dir, sealKeyName)
	made, err := seal.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pair := certificatetest.SelfSigned(t, certificatetest.Options{Names: []string{"shop.test"}})
	body, err := json.Marshal(map[string]any{"kind": "Certificate", "name": "site", "spec": map[string]string{"chain": pair.Chain, "key": pair.Key}})
	if err != nil {
		t.Fatal(err)
	}
	if code, text := p.call("POST", api.PathApply, string(body)); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, text)
	}
	p.end()
	// Neither etcd's database nor its log holds the key; nor does what was logged.
	if err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(name)
		if pair.Leaks(data) {
			t.Errorf("%s holds the private key", name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if pair.Leaks([]byte(p.stderr.String())) {
		t.Error("the private key was logged")
	}

	failing := func(what, says string) {
		t.Helper()
		p := launch(t, "--data-dir", dir)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: it runs:\n%s", what, p.stderr)
		}
		if p.code != exitFailed || !strings.Contains(p.stderr.String(), says) {
			t.Errorf("%s: exit status %d:\n%s", what, p.code, p.stderr)
		}
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	failing("without its key", "is sealed under key "+made.ID()+": put that file back")
	if _, err := seal.CreateFile(path); err != nil {
		t.Fatal(err)
	}
	failing("with another key", "the store is sealed under key "+made.ID())
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	code, text := again.call("GET", "/v1/certificates/site", "")
	if code != http.StatusOK || pair.Leaks(text) || !strings.Contains(string(text), "keyFingerprint") {
		t.Errorf("with its key again: %d %s", code, text)
	}
}

func TestASignalWhileWaitingForEtcdEndsIt(t *testing.T) {
	endpoint := freeURL(t)
	dir := t.TempDir()
	if _, err := seal.CreateFile(filepath.Join(dir, sealKeyName)); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "--data-dir", dir, "--etcd-endpoints", endpoint.String())
	p.until("waiting", func() bool { return strings.Contains(p.stderr.String(), "waiting for it") })
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, p.stderr)
	}
}

// freeURL is where nobody listens at this moment.
func freeURL(t *testing.T) url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

func TestMetricsAreServed(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	p := start(t, t.TempDir())
	p.call("POST", api.PathApply, route)
	p.call("GET", "/v1/nothing", "")
	p.until("published", func() bool {
		_, text := p.call("GET", api.PathMetrics, "")
		return strings.Contains(string(text), metricRevision+" 1\n")
	})
	code, text := p.call("GET", api.PathMetrics, "")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	for _, line := range []string{
		metricRequests + `{code="200",operation="apply"} 1`,
		metricRequests + `{code="404",operation="none"} 1`,
		metricRequestSeconds + `_count{operation="apply"} 1`,
		metricResources + " 1", metricUnpublished + " 0",
		metricNodes + `{state="SYNCED"} 0`,
		metricNacks + `{reason="permanent"} 0`,
		metricPublishSeconds + "_count",
		metricBuildInfo + "{",
		"go_goroutines",
	} {
		if !strings.Contains(string(text), line) {
			t.Errorf("no line %q", line)
		}
	}
	t.Run("the reference names them", func(t *testing.T) { referenceNames(t, string(text)) })
}

// TestMetricsOfSeveralControlPlanes are those of one, and what they tell each other by.
func TestMetricsOfSeveralControlPlanes(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	endpoint := freeURL(t)
	externalEtcd(t, endpoint, freeURL(t))
	key := filepath.Join(t.TempDir(), "seal.key")
	if _, err := seal.CreateFile(key); err != nil {
		t.Fatal(err)
	}
	var planes [2]*process
	for i := range planes {
		planes[i] = start(t, t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	}
	for _, p := range planes {
		p.until("told of the other", func() bool {
			_, text := p.call("GET", api.PathMetrics, "")
			return strings.Contains(string(text), metricReplicas+" 1\n")
		})
	}
	_, text := planes[0].call("GET", api.PathMetrics, "")
	for _, line := range []string{metricReplicaWrites, metricReplicaFailures + " 0\n", metricReplicaBytes, metricReplicaHeard, metricConnected + " 0\n"} {
		if !strings.Contains(string(text), "\n"+line) {
			t.Errorf("no line %q", line)
		}
	}
	referenceNames(t, string(text))
	var status api.Status
	if _, text := planes[0].call("GET", api.PathStatus, ""); json.Unmarshal(text, &status) != nil || len(status.ControlPlanes) != 2 ||
		!strings.HasSuffix(planes[0].GRPC, status.ControlPlanes[0].Name[strings.LastIndex(status.ControlPlanes[0].Name, ":"):]) {
		t.Errorf("%+v", status.ControlPlanes)
	}
}

// referenceNames looks for every metric of ours in the reference, with its text.
func referenceNames(t *testing.T, metrics string) {
	t.Helper()
	reference := settingstest.Page(t, "../../../docs/REFERENCE.md")
	for line := range strings.Lines(metrics) {
		name, help, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "# HELP "), " ")
		if !ok || !strings.HasPrefix(line, "# HELP proxyfleet_") {
			continue
		}
		begin, end := "| `"+name+"` | ", " | "+strings.TrimSuffix(help, ".")+" |\n"
		found := false
		for row := range strings.Lines(reference) {
			found = found || strings.HasPrefix(row, begin) && strings.HasSuffix(row, end)
		}
		if !found {
			t.Errorf("docs/REFERENCE.md has no row\n\t%s…%s", begin, end)
		}
	}
}

func TestWrongUseIsSaidBeforeAnythingStarts(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, fmt.Sprintf("%x.yaml", text))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		args []string
		env  string
		says string
	}{
		{[]string{"--nonsense"}, "", "unknown flag: --nonsense"},
		{[]string{"--rest-addr", "x"}, "", "unknown flag: --rest-addr (did you mean --rest-address?)"},
		{[]string{"version", "--short"}, "", "Try proxy-controlplane version --help."},
		{[]string{"serve"}, "", `unknown command "serve"`},
		{[]string{"versio", "--short"}, "", `unknown command "versio" (did you mean "version"?)`},
		{[]string{"versio", "--help"}, "", `unknown command "versio" (did you mean "version"?)`},
		{[]string{"help", "NOSUCH"}, "", "unknown command \"NOSUCH\"\nTry proxy-controlplane --help."},
		{[]string{"--rest-address", "0.0.0.0:7400"}, "", "--insecure"},
		{[]string{"--rest-address", ":7400"}, "", "no authentication yet"},
		{[]string{"--grpc-address", "10.0.0.5:7401"}, "", "--grpc-address"},
		{[]string{"--grpc-address", "example.test:7401"}, "", "not a loopback address"},
		{[]string{"--rest-address", "127.0.0.1"}, "", "expected HOST:PORT"},
		{[]string{"--rest-address", "127.0.0.1:70000"}, "", "expected a port"},
		{[]string{"--seal-key-file", file("short")}, "", "expected 64 hexadecimal digits"},
		{[]string{"--etcd-endpoints", "http://127.0.0.1:1", "--data-dir", dir}, "", "openssl rand -hex 32"},
		{[]string{"--data-dir", file("no directory")}, "", "wrong use: --data-dir: seal key: open "},
		{[]string{"--etcd-endpoints", "10.0.0.1:2379"}, "", "expected a URL"},
		{[]string{"--etcd-endpoints", "http://10.0.0.1"}, "", "expected a port from 1 to 65535"},
		{[]string{"--etcd-endpoints", "http://10.0.0.1:2379,https://10.0.0.2:0"}, "", `"https://10.0.0.2:0": expected a port`},
		{[]string{"--etcd-endpoints", "http://a:secret@10.0.0.1:2379"}, "", "not supported yet"},
		{[]string{"--log-level", "loud"}, "", "expected debug"},
		{[]string{"--data-dir", ""}, "", "expected a directory"},
		{[]string{"--config", filepath.Join(dir, "none")}, "", "--config"},
		{[]string{"--config", file("rest_address: 127.0.0.1:1\n")}, "", `unknown key "rest_address"`},
		{[]string{"--config", file("config: x\n")}, "", `unknown key "config"`},
		{[]string{"--config", file("help: true\n")}, "", `unknown key "help"`},
		{[]string{"--config", file("version: true\n")}, "", `unknown key "version"`},
		{[]string{"--config", file("insecure: true\ninsecure: false\n")}, "", "already set"},
		{[]string{"--config", file("rest-address: [a, b]\n")}, "", "expected one value"},
		{[]string{"--config", file("etcd-endpoints: [1]\n")}, "", "expected texts"},
		{[]string{"--config", file("insecure: maybe\n")}, "", "insecure"},
		{nil, "PROXYFLEET_INSECURE=maybe", "PROXYFLEET_INSECURE"},
		{nil, "PROXYFLEET_REST_ADDRESS=0.0.0.0:1", "--rest-address"},
	} {
		var stderr bytes.Buffer
		getenv := func(name string) (string, bool) {
			key, value, _ := strings.Cut(c.env, "=")
			return value, key == name
		}
		code := run(context.Background(), c.args, world{getenv: getenv, stdout: io.Discard, stderr: &stderr})
		if code != exitUsage || !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), "secret") {
			t.Errorf("%v %s: exit status %d, want something about %q:\n%s", c.args, c.env, code, c.says, &stderr)
		}
	}
}

func TestAFlagWinsOverAVariableOverTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c.yaml")
	text := "data-dir: from-file\nrest-address: 127.0.0.1:1\ngrpc-address: 127.0.0.1:1\netcd-endpoints: [http://a:1, http://b:2]\ninsecure: true\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PROXYFLEET_REST_ADDRESS": "127.0.0.1:2", "PROXYFLEET_GRPC_ADDRESS": "127.0.0.1:2", "PROXYFLEET_CONFIG": "/nowhere"}
	var o options
	f := o.flags()
	if err := f.Parse([]string{"--config", name, "--grpc-address", "127.0.0.1:3"}); err != nil {
		t.Fatal(err)
	}
	if err := settings.Fill(f, func(name string) (string, bool) { v, ok := env[name]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(o.dataDir, o.restAddress, o.grpcAddress, o.etcdEndpoints, o.insecure)
	if want := fmt.Sprint("from-file", "127.0.0.1:2", "127.0.0.1:3", []string{"http://a:1", "http://b:2"}, true); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHelpAndVersionAreForPeople(t *testing.T) {
	for _, c := range []struct{ arg, says string }{
		{"--help", "--etcd-endpoints URL,URL"},
		{"--help", "Examples:"},
		{"--help", "PROXYFLEET_DATA_DIR"},
		{"version", "proxy-controlplane dev (commit"},
		{"--version", "proxy-controlplane dev (commit"},
		{"-v", "proxy-controlplane dev (commit"},
	} {
		var stdout bytes.Buffer
		if code := run(context.Background(), []string{c.arg}, world{getenv: noEnv, stdout: &stdout, stderr: io.Discard}); code != exitDone {
			t.Errorf("%s: exit status %d", c.arg, code)
		}
		if !strings.Contains(stdout.String(), c.says) {
			t.Errorf("%s does not say %q:\n%s", c.arg, c.says, &stdout)
		}
	}
}
