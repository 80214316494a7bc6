package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/bystander"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
)

// othersVariable tells a process of this test that it is the others: clients of a
// node that is attacked, and the endpoints that answer them. They have a process of
// their own, since what they measure must not be how busy the attacker is.
const othersVariable = "FLOODS_OTHERS"

// TestOthersOfFloods is no test: it is what that process runs.
func TestOthersOfFloods(t *testing.T) {
	text := os.Getenv(othersVariable)
	if text == "" {
		t.Skip("runs for the tests of floods")
	}
	var o bystander.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	if err := bystander.Serve(o, int(os.Stdin.Fd()), os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// others is that process.
type others struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	out     *json.Decoder
}

// newOthers starts it; it ends with the test.
func newOthers(t *testing.T, o bystander.Options) *others {
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
func (a *others) result() *bystander.Result {
	a.t.Helper()
	var r bystander.Result
	if err := a.out.Decode(&r); err != nil {
		a.t.Fatalf("others: %v", err)
	}
	return &r
}

// beside has others ask while something runs.
func (a *others) beside(t *testing.T, run func()) *bystander.Result {
	t.Helper()
	a.say("ask")
	run()
	a.say("stop")
	r := a.result()
	if r.Failed > 0 {
		t.Errorf("%d of the others failed: %s", r.Failed, r.Failure)
	}
	return r
}

func (a *others) say(line string) {
	if _, err := io.WriteString(a.in, line+"\n"); err != nil {
		a.t.Fatalf("others: %v", err)
	}
}

// separate gives the node a processor of its own, and the others precedence over the attacker and
// the control plane on the one that these share. It says whether it could.
func separate(t *testing.T, f *fleettest.Fleet, a *others) bool {
	t.Helper()
	if runtime.NumCPU() < 2 {
		t.Log("one processor: attacker, others and node share it")
		return false
	}
	own, control := os.Getpid(), f.Control.PID()
	for pid, processor := range map[int]int{f.Nodes[0].PID(): 0, own: 1, control: 1, a.command.Process.Pid: 1} {
		if err := fleettest.Pin(pid, processor); err != nil {
			t.Logf("attacker, others and node share processors: %v", err)
			return false
		}
	}
	t.Cleanup(func() {
		if err := errors.Join(fleettest.Unpin(own), fleettest.Unyielding(own)); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(fleettest.Yielding(own), fleettest.Yielding(control)); err != nil {
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
