package fleettest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Pin holds a process to one processor, with all threads that it has and will have.
func Pin(pid, processor int) error {
	var set unix.CPUSet
	set.Set(processor)
	return eachThread(pid, func(thread int) error { return unix.SchedSetaffinity(thread, &set) })
}

// Unpin lets a process go to all processors again.
func Unpin(pid int) error {
	var set unix.CPUSet
	for processor := range len(set) * 64 {
		set.Set(processor) // the kernel takes those that there are
	}
	return eachThread(pid, func(thread int) error { return unix.SchedSetaffinity(thread, &set) })
}

// Yielding has a process run only while nobody else wants its processor, all threads that it
// has and will have: whoever wakes there goes before it at once. (A better nice value of the
// others would not do: who has begun to run may go on for a slice. Real-time threads of a Go
// program would wait for each other: its runtime spins.)
func Yielding(pid int) error { return schedule(pid, unix.SCHED_IDLE) }

// Unyielding takes that back.
func Unyielding(pid int) error { return schedule(pid, unix.SCHED_NORMAL) }

// schedule gives a process a policy (sched(7)).
func schedule(pid int, policy uint32) error {
	return eachThread(pid, func(thread int) error {
		return unix.SchedSetAttr(thread, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy}, 0)
	})
}

// Used is the processor time that the process has used, of all threads that it had, to
// the microsecond: CPU counts ticks.
func (p *Process) Used() time.Duration {
	p.t.Helper()
	var ts unix.Timespec
	const scheduled = 2 // CPUCLOCK_SCHED: what clock_getcpuclockid(3) makes of a process
	if err := unix.ClockGettime(int32(^p.PID())<<3|scheduled, &ts); err != nil {
		p.t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// eachThread does something to every thread, also to those that come meanwhile: they
// inherit it from threads to which it was done.
func eachThread(pid int, do func(thread int) error) error {
	for range 2 {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, e := range entries {
			thread, err := strconv.Atoi(e.Name())
			if err != nil {
				return err
			}
			if err := do(thread); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("thread %d: %w", thread, err)
			}
		}
	}
	return nil
}
