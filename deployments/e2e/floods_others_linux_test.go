package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/load"
)

// othersVariable tells a process of this test that it is the others: clients of a
// node that is attacked, and the endpoints that answer them. They have a process of
// their own, since what they measure must not be how busy the attacker is.
const othersVariable = "FLOODS_OTHERS"

// othersOptions are what it is told.
type othersOptions struct {
	Backends []string
	Load     load.Options
}

// TestOthersOfFloods is no test: it is what that process runs. A line "ask" has it
// ask, until "stop", which it answers with the result.
func TestOthersOfFloods(t *testing.T) {
	text := os.Getenv(othersVariable)
	if text == "" {
		t.Skip("runs for the tests of floods")
	}
	var o othersOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	for _, address := range o.Backends {
		b, err := load.NewBackend(context.Background(), address, load.BackendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
	}
	out := json.NewEncoder(os.Stdout)
	_ = out.Encode(load.Result{}) // the endpoints are there
	var asking sync.WaitGroup
	stop := func() {}
	var result *load.Result
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "ask":
			ctx, cancel := context.WithCancel(context.Background())
			stop = cancel
			asking.Go(func() {
				r, err := load.Run(ctx, o.Load)
				if err != nil {
					t.Error(err)
				}
				result = r
			})
		case "stop":
			stop()
			asking.Wait()
			if err := out.Encode(result); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop()
	asking.Wait()
}

// others is that process.
type others struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
}

// newOthers starts it; it ends with the test.
func newOthers(t *testing.T, o othersOptions) *others {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	a := &others{t: t, command: exec.Command(os.Args[0], "-test.run=^TestOthersOfFloods$", "-test.timeout=0")}
	a.command.Env = append(os.Environ(), othersVariable+"="+string(text))
	a.command.Stderr = os.Stderr
	a.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.in, err = a.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := a.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.out = json.NewDecoder(bufio.NewReader(out))
	started, end, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() { // the child ends with the thread that started it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := a.command.Start()
		started <- err
		if err == nil {
			<-end
			_ = a.command.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.in.Close()
		_, _ = io.Copy(io.Discard, out)
		close(end)
		<-ended
	})
	a.result()
	return a
}

// result waits for what the process says.
func (a *others) result() *load.Result {
	a.t.Helper()
	var r load.Result
	if err := a.out.Decode(&r); err != nil {
		a.t.Fatalf("others: %v", err)
	}
	return &r
}

// beside has others ask while something runs.
func (a *others) beside(t *testing.T, run func()) *load.Result {
	t.Helper()
	a.say("ask")
	run()
	a.say("stop")
	r := a.result()
	if r.Failed > 0 {
		t.Errorf("%d of the others failed: %v %+v", r.Failed, r.Failures, r.Samples)
	}
	return r
}

func (a *others) say(line string) {
	if _, err := io.WriteString(a.in, line+"\n"); err != nil {
		a.t.Fatalf("others: %v", err)
	}
}

// separate gives the node a processor of its own, and the others precedence on the
// one that they share with the attacker. It says whether it could.
func separate(t *testing.T, node *fleettest.Node, a *others) bool {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Log("one processor: attacker, others and node share it")
		return false
	}
	own := os.Getpid()
	for pid, processor := range map[int]int{node.PID(): 0, own: 1, a.command.Process.Pid: 1} {
		if err := fleettest.Pin(pid, processor); err != nil {
			t.Logf("attacker, others and node share processors: %v", err)
			return false
		}
	}
	t.Cleanup(func() {
		if err := fleettest.Unpin(own); err != nil {
			t.Error(err)
		}
	})
	if err := fleettest.Urgent(a.command.Process.Pid); err != nil {
		t.Logf("others wait for a processor while the attacker has it: %v", err)
	}
	return true
}

// machine names what is measured on.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	model := "a processor"
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return model + ", Linux " + strings.TrimSpace(string(release))
}
