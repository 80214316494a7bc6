package fleettest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cgroups is where the kernel's control groups are mounted.
const cgroups = "/sys/fs/cgroup"

// cpuPeriod is the period of processor quotas: the kernel's default.
const cpuPeriod = 100 * time.Millisecond

// Limits hold a process down, as a container would. Zero: no limit.
type Limits struct {
	Memory      int64   // bytes
	CPU         float64 // share of one processor
	Descriptors int
}

// wrap gives the command line that runs a program under the limits. The test is
// skipped where no control group can be made.
func (l Limits) wrap(t testing.TB, binary string, args []string) (string, []string) {
	if l == (Limits{}) {
		return binary, args
	}
	t.Helper()
	// The shell joins the groups, and becomes the program: the process id stays.
	script := "set -e\n"
	for _, group := range l.groups(t) {
		script += fmt.Sprintf("echo $$ >%s/cgroup.procs\n", group)
	}
	if l.Descriptors > 0 {
		script += fmt.Sprintf("ulimit -n %d\n", l.Descriptors)
	}
	script += `exec "$@"`
	return "/bin/sh", append([]string{"-c", script, "sh", binary}, args...)
}

// groups makes control groups, of version 2 or 1, that go with the test.
func (l Limits) groups(t testing.TB) []string {
	t.Helper()
	name := fmt.Sprintf("proxyfleet-test-%d-%d", os.Getpid(), rand.Uint32())
	var made []string
	add := func(controller, file, value string) {
		dir := filepath.Join(cgroups, controller, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
			t.Skipf("a control group cannot be made: %v", err)
		} else if err == nil {
			made = append(made, dir)
			t.Cleanup(func() { removeGroup(t, dir) })
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o600); err != nil {
			t.Skipf("a control group cannot be written: %v", err)
		}
	}
	quota := int64(l.CPU * float64(cpuPeriod.Microseconds()))
	if _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		if l.Memory > 0 {
			add("", "memory.max", strconv.FormatInt(l.Memory, 10))
		}
		if l.CPU > 0 {
			add("", "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod.Microseconds()))
		}
		return made
	}
	if l.Memory > 0 {
		add("memory", "memory.limit_in_bytes", strconv.FormatInt(l.Memory, 10))
	}
	if l.CPU > 0 {
		add("cpu", "cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
	}
	return made
}

// removeGroup removes a group when its last process has left it.
func removeGroup(t testing.TB, dir string) {
	t.Helper()
	Wait(t, stopTimeout, "control group "+dir+" to be empty", func() bool {
		err := os.Remove(dir)
		return err == nil || os.IsNotExist(err)
	})
}

// OOMKills is how many processes of the node's memory group the kernel killed.
func (p *Process) OOMKills() int {
	p.t.Helper()
	for line := range strings.Lines(p.proc("cgroup")) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		file := ""
		switch {
		case len(parts) != 3:
			continue
		case parts[1] == "memory":
			file = filepath.Join(cgroups, "memory", parts[2], "memory.oom_control")
		case parts[1] == "":
			file = filepath.Join(cgroups, parts[2], "memory.events")
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				kills, err := strconv.Atoi(strings.TrimSpace(n))
				if err != nil {
					p.t.Fatal(err)
				}
				return kills
			}
		}
	}
	return 0
}
