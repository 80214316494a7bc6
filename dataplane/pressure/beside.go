package pressure

import (
	"fmt"
	"os"
	"runtime/debug"
)

const (
	// leastPart is what the collector leaves to this process in any case, as a part of
	// what it has alone: where less than what is alive was left it would do nothing else.
	leastPart = 4
	// collectStep is by which part of the limit that must change to be set anew, since
	// setting it stops the world.
	collectStep = 32
)

// Both makes a monitor of this process and another one beside it against the limit of
// both alone. It leaves the garbage collector as it is.
func Both(common uint64, pid int) *Monitor {
	m := &Monitor{common: common, open: openResident}
	m.Beside(pid)
	return m
}

// Beside has another process counted too, until it has ended: the kernel's killer looks
// at both, and takes whichever is larger. Whose memory cannot be read is not counted.
func (m *Monitor) Beside(pid int) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return // it has ended
	}
	m.setBeside(&neighbour{f})
}

// setBeside has n counted and closes the one before; nil: nobody is.
func (m *Monitor) setBeside(n *neighbour) {
	if before := m.beside.Swap(n); before != nil {
		_ = before.Close()
	}
}

// neighbour is another process. Its descriptor is of that process whoever gets its
// number later.
type neighbour struct{ *os.File }

// used is what it has alone: programs and files are shared.
func (n *neighbour) used() (uint64, error) {
	resident, shared, err := readStatm(n.File)
	return resident - min(shared, resident), err
}

// percent is how much is used of the limit of this process, or of that of both,
// whichever is more.
func (m *Monitor) percent(used uint64) (percent uint64) {
	if m.limit > 0 {
		percent = used * 100 / m.limit
	}
	beside := uint64(0)
	if b := m.beside.Load(); b != nil && m.common > 0 {
		var err error
		if beside, err = b.used(); err == nil {
			percent = max(percent, (used+beside)*100/m.common)
		} else if m.beside.CompareAndSwap(b, nil) {
			_ = b.Close()
		}
	}
	m.collectBelow(beside)
	return percent
}

// collectBelow has the collector leave room for the process beside.
func (m *Monitor) collectBelow(beside uint64) {
	if m.collect == 0 {
		return
	}
	want := m.limit / 100 * collectPercent
	if both := m.common / 100 * collectPercent; beside > 0 {
		want = max(min(want, both-min(both, beside)), want/leastPart)
	}
	if max(want, m.collect)-min(want, m.collect) >= m.limit/collectStep {
		m.collect = want
		debug.SetMemoryLimit(int64(want)) //nolint:gosec // of this machine's memory
	}
}
