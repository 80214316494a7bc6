package fleettest

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usedSoFar reads the kernel's counters. False: they cannot be read.
func usedSoFar() (u usage, ok bool) {
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return usage{}, false
	}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return usage{}, false
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 {
			continue
		}
		// "cpu3 USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL …", of proc_stat(5).
		number, found := strings.CutPrefix(fields[0], "cpu")
		n, err := strconv.Atoi(number)
		if !found || err != nil || !may.IsSet(n) {
			continue
		}
		u.processors++
		u.busy += ticks(fields[1]) + ticks(fields[2]) + ticks(fields[3]) + ticks(fields[8])
	}
	u.own = ownTime()
	u.at = time.Now()
	return u, u.processors > 0
}

// ownTime is the processor time of this process and of all that descend from it, also
// of those that ended and were waited for.
func ownTime() (sum time.Duration) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	type process struct {
		parent int
		used   time.Duration
	}
	all := make(map[int]process, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fields, ok := statFields(pid)
		if !ok {
			continue // it has ended
		}
		parent, _ := strconv.Atoi(fields[statParent])
		p := process{parent: parent}
		for _, f := range fields[statUserTime : statUserTime+4] { // and of children that ended
			p.used += ticks(f)
		}
		all[pid] = p
	}
	self := os.Getpid()
	for pid, p := range all {
		// A chain of parents is never longer than there are processes.
		for at, steps := pid, 0; steps <= len(all); steps++ {
			if at == self {
				sum += p.used
				break
			}
			next, known := all[at]
			if !known {
				break
			}
			at = next.parent
		}
	}
	return sum
}

func ticks(text string) time.Duration {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(n) * clockTick
}
