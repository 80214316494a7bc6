package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is the program, run within the test.
type process struct {
	*testing.T
	stop   context.CancelFunc
	done   chan struct{}
	code   int // after done
	stderr *waittest.Log
	addresses
}

// launch starts the program on free ports and does not wait for it.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	log := &waittest.Log{}
	p := launchWith(t, log, args...)
	p.stderr = log
	return p
}

// launchWith has it write its messages there.
func launchWith(t *testing.T, stderr io.Writer, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{T: t, stop: cancel, done: make(chan struct{}), stderr: &waittest.Log{}}
	args = append([]string{"--rest-address", "127.0.0.1:0", "--grpc-address", "127.0.0.1:0"}, args...)
	w := world{getenv: noEnv, stdout: io.Discard, stderr: stderr, waits: defaultWaits()}
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
