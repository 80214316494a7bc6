package demo

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// TestChildrenDieWithAKilledDemo starts a process that starts a child as the
// demo does, kills the former and sees the latter go.
func TestChildrenDieWithAKilledDemo(t *testing.T) {
	if dir := os.Getenv("DEMO_TEST_PARENT"); dir != "" {
		child, err := startChild(Process{Name: "sleep", Path: "/bin/sleep", Args: []string{"60"}, Log: filepath.Join(dir, "log")})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(child.cmd.Process.Pid)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		<-child.done
		return
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithAKilledDemo$")
	parent.Env = append(os.Environ(), "DEMO_TEST_PARENT="+dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	waittest.Until(t, "the child starts", func() bool {
		data, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil || !strings.HasSuffix(string(data), "\n") {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil
	})
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	waittest.Until(t, "the child ends", func() bool {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return true
		}
		// Where nobody reaps orphans it stays as a zombie.
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func TestAnUpgradedNodeIsNotMissedAndEndsWithTheRest(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg, out := stage(t, map[string]string{"node-2": partUpgraded})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	const says = "node-2 was upgraded and goes on as process "
	until(t, out, says)
	_, rest, _ := strings.Cut(out.String(), says)
	number, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(number)
	if err != nil || syscall.Kill(pid, 0) != nil {
		t.Errorf("node-2 runs no more: process %q\n%s", number, out)
	}
	cancel()
	if err := <-done; err != nil || strings.Contains(out.String(), "node-2 ended") {
		t.Errorf("%v\n%s", err, out)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is left: %v", pid, err)
	}
}

// What is not the node itself, as a vip-agent is not, does not keep it from being
// missed.
func TestWhatADeadChildLeftBehindEndsWithTheRest(t *testing.T) {
	undo, err := adoptOrphans()
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	dir := t.TempDir()
	c, err := startChild(Process{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", "sleep 60 & until grep -q sleep /proc/$!/comm; do :; done; echo $!; exit 3"},
		Log: filepath.Join(dir, "log"), OutLog: filepath.Join(dir, "out"),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-c.done
	if c.err == nil || c.err.Error() != "exit status 3" {
		t.Errorf("ended with %v", c.err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || syscall.Kill(pid, 0) != nil {
		t.Fatalf("%q does not run: %v", data, err)
	}
	stopChildren([]*child{c}, stopGrace)
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d is left: %v", pid, err)
	}
}

func TestListenersOfAnAddressAreFound(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 00000000:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0 0 10 0
   2: 0B00007F:1CE8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 333 1 0 100 0 0 10 0
   3: 0100007F:1CE8 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 444 1 0 100 0 0 10 0
   4: 00000000000000000000000000000000:1CE8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 555 1 0 100 0 0 10 0
   5: nonsense
`
	got := strings.Join(listeningInodes([]byte(table), netip.MustParseAddrPort("127.0.0.1:7400")), " ")
	if got != "111 222 555" {
		t.Errorf("got %s", got)
	}
}
