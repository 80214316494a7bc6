package demo

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childAttributes puts a child into a process group of its own, so that Ctrl-C
// in the terminal reaches the demo alone, which then ends its children in
// order; and has the kernel kill it when the demo dies without doing so.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// adoptOrphans has the kernel make what the children leave behind children of
// this process: a node that is upgraded ends, and otherwise the process that
// follows it would be out of reach. undo ends that.
func adoptOrphans() (undo func(), err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("demo: to adopt the processes of upgraded nodes: %w", err)
	}
	return func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }, nil
}

// nextOrphan is a child of this process in the process group of one that has
// ended; nil: there is none. follows: it runs with the arguments, as the process
// of an upgraded node does and a vip-agent does not, and comes first.
func nextOrphan(group int, args []string) (orphan *os.Process, follows bool) {
	own := strconv.Itoa(os.Getpid())
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, false
	}
	found := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		// The name, in parentheses, can hold anything; state, parent and group follow.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 3 || fields[1] != own || fields[2] != strconv.Itoa(group) {
			continue
		}
		found = pid
		if line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil {
			words := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
			if follows = slices.Equal(words[1:], args); follows {
				break
			}
		}
	}
	if found == 0 {
		return nil, false
	}
	// It is not another's by now: a child keeps its id until it is waited for.
	if orphan, err = os.FindProcess(found); err != nil {
		return nil, false
	}
	return orphan, follows
}
