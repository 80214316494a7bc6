//go:build linux

package agent

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

// processorTime is what a process has used so far.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] { // in user mode, and in the kernel
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// TestAnAgentLeavesItsProcessorToOthers is for machines with as many processors as the
// agent has threads, or fewer, where all have the same real-time priority: one that waits
// for another by trying again, as Go's collector does, keeps it from running.
func TestAnAgentLeavesItsProcessorToOthers(t *testing.T) {
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		t.Skip("taskset is not installed (Debian: util-linux): ", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const number, look = 100, 3 * time.Second
	p := newPlace(t)
	var vips []*fleetv1.AgentVip
	for i := range number {
		vips = append(vips, &fleetv1.AgentVip{
			Name: fmt.Sprint("v", i), Address: fmt.Sprintf("%s.%d", p.net, 100+i), Ports: []*fleetv1.AgentPort{{Port: uint32(p.port), Backlog: 16}},
		})
	}
	s := New(Config{
		Start: p.start("1"), Engine: newEngine("1"),
		Command: func() *exec.Cmd {
			c := exec.Command(taskset, "-c", "0", self)
			c.Env = append(os.Environ(), roleVariable+"=agent")
			c.Stderr = io.Discard
			return c
		},
		Pulse: func() (bool, bool) { return true, true }, Logger: slog.New(slog.DiscardHandler),
	})
	s.SetList(1, []string{"1"})
	s.SetVIPs(vips)
	defer lifecycletest.Run(t, s.Run)()
	eventually(t, "it to hold all of them", func() bool {
		held := 0
		for _, v := range s.Statuses() {
			if v.GetHolds() {
				held++
			}
		}
		return held == number
	})
	pid := s.State().PID
	if policy, err := unix.SchedGetAttr(pid, 0); err != nil || policy.Policy != unix.SCHED_RR {
		t.Skip("it may not have a real-time priority: ", err)
	}
	before := processorTime(t, pid)
	time.Sleep(look) // what it uses in a while is what is asked
	used := processorTime(t, pid) - before
	t.Logf("%s of %s", used, look)
	if used > look/4 {
		t.Errorf("it used %s of %s", used, look)
	}
}
