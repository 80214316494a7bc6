package agent

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// agentProcs: Go's threads wait for each other by trying again for a while, since the
	// other one runs. Of one priority above all others, on as few processors as threads,
	// it may not run: it was waited for up to 100 ms (SCHED_RR), and agents of some ten
	// virtual IPs used all of the processor. A turn of the loop takes microseconds.
	agentProcs = 1
	// agentGC collects sooner than by default: some MiB live, and less to touch
	// is less to keep in memory.
	agentGC = 50
	// priority is the lowest of the real-time ones: above all of time sharing.
	priority = 1
)

// insist makes the agent run when others crowd the machine, as far as it may:
// memory that stays, and processor time at once. What it may not costs time in
// the worst case, never the safety of grants.
func insist(log *slog.Logger) {
	runtime.GOMAXPROCS(agentProcs)
	debug.SetGCPercent(agentGC)
	if err := lockMemory(); err != nil {
		log.Debug("vip-agent: memory is not locked", "error", err)
	}
	if err := realTime(); err != nil {
		log.Debug("vip-agent: no real-time priority", "error", err)
	}
}

// lockMemory keeps pages that were touched. Only without a limit: what a later
// allocation may not lock it does not get, and the process ends.
func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	if limit.Cur != unix.RLIM_INFINITY && os.Geteuid() != 0 {
		return unix.EPERM
	}
	return unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
}

// realTime gives SCHED_RR to the threads that there are; others inherit it.
func realTime() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		parameter := struct{ priority int32 }{priority}
		_, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, uintptr(id), unix.SCHED_RR, uintptr(unsafe.Pointer(&parameter)))
		if errno != 0 && errno != unix.ESRCH { // a thread that ended meanwhile
			return errno
		}
	}
	return nil
}
