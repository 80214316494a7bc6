package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/bystander"
	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
)

// othersVariable tells a process of this test that it is the others: clients of a
// node that is attacked, and the endpoints that answer them. They have a process of
// their own, since what they measure must not be how busy the attacker is.
const othersVariable = "FLOODS_OTHERS"

// serveAsOthers is what that process does.
func serveAsOthers(text string) error {
	var o bystander.Options
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	return bystander.Serve(o, int(os.Stdin.Fd()), os.Stdout)
}

// others is that process.
type others struct {
	t       *testing.T
	role    *role
	results *json.Decoder
}

// newOthers starts it; it ends with the test.
func newOthers(t *testing.T, o bystander.Options) *others {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	r := startRole(t, othersVariable, string(text))
	a := &others{t: t, role: r, results: json.NewDecoder(bufio.NewReader(r.out))}
	a.result()
	return a
}

// result waits for what the process says.
func (a *others) result() *bystander.Result {
	a.t.Helper()
	var r bystander.Result
	if err := a.results.Decode(&r); err != nil {
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
	if _, err := io.WriteString(a.role.in, line+"\n"); err != nil {
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
	for pid, processor := range map[int]int{f.Nodes[0].PID(): 0, own: 1, control: 1, a.role.pid: 1} {
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
