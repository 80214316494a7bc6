package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// onlooker looks at the threads of another process, to tell one that is stopped or
// hangs from one that waits for a processor which others have. Without /proc, or
// its schedstat, no process ever waits.
type onlooker struct {
	tasks string // the folder of the process's threads

	at   int64 // of the last look
	seen map[string]thread
}

// thread is what proc(5) says of one: its state, and for how many nanoseconds it
// ran and was ready to run without doing so. The latter grows when the wait ends.
type thread struct {
	state       byte
	ran, waited uint64
}

// The states of threads that others stopped: by a signal, or in a debugger.
const stoppedStates = "Tt"

func newOnlooker(pid int) *onlooker {
	return &onlooker{tasks: fmt.Sprintf("/proc/%d/task", pid)}
}

// look says whether the process is stopped, and if not, whether one of its threads
// spent half of the time since the last look, or more, waiting for a processor.
func (o *onlooker) look(now int64) (stopped, starved bool) {
	seen := map[string]thread{}
	names, _ := filepath.Glob(o.tasks + "/*")
	for _, name := range names {
		t, ok := readThread(name)
		if !ok {
			continue // it ended
		}
		seen[name] = t
		stopped = stopped || bytes.IndexByte([]byte(stoppedStates), t.state) >= 0
		if before, known := o.seen[name]; known {
			starved = starved || 2*t.waitedSince(before, now-o.at) >= now-o.at
		}
	}
	o.seen, o.at = seen, now
	return stopped, starved && !stopped
}

// waitedSince is for how long a thread waited since it was seen before. Of one that never
// ran only the state is known.
func (t thread) waitedSince(before thread, elapsed int64) int64 {
	waited := int64(t.waited - before.waited) //nolint:gosec // it only grows
	if t.state == 'R' && t.ran != 0 && t.ran == before.ran {
		waited += elapsed // it has not run since, and this wait is not over
	}
	return waited
}

func readThread(folder string) (t thread, ok bool) {
	stat, err := os.ReadFile(folder + "/stat")
	if err != nil {
		return t, false
	}
	// The name before the state may have anything in it.
	_, rest, found := bytes.Cut(stat[max(bytes.LastIndexByte(stat, ')'), 0):], []byte(") "))
	if !found || len(rest) == 0 {
		return t, false
	}
	t.state = rest[0]
	times, err := os.ReadFile(folder + "/schedstat")
	fields := bytes.Fields(times)
	if err != nil || len(fields) < 2 {
		return t, true // a kernel without schedstat: only the state is known
	}
	t.ran, _ = strconv.ParseUint(string(fields[0]), 10, 64)
	t.waited, _ = strconv.ParseUint(string(fields[1]), 10, 64)
	return t, true
}
