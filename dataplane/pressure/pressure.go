// Package pressure watches how much memory the process uses of what it may use,
// and says how much work the node should still take.
//
//	below 85 %   Calm
//	from 85 %    High: idle client connections are closed, the longest idle first
//	from 95 %    Critical: requests are answered with 503 before anything is done
//
// A level is left three points below where it was entered, so that a node at the
// edge does not flap. What is measured is the resident set: it is what a cgroup
// counts and what the kernel's killer looks at. While a node is upgraded two processes
// share a cgroup: see Monitor.Beside.
//
// A Collector has garbage collected less often where little is alive.
package pressure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Level is how much work a node takes.
type Level uint8

// The levels.
const (
	Calm Level = iota
	High
	Critical
)

// String is the level in lower case.
func (l Level) String() string {
	switch l {
	case Calm:
		return "calm"
	case High:
		return "high"
	case Critical:
		return "critical"
	}
	return "unknown"
}

const (
	highPercent     = 85
	criticalPercent = 95
	hysteresis      = 3
	// collectPercent is where the garbage collector begins to work harder: before
	// clients notice anything.
	collectPercent = 80
	// Every is how often memory is looked at: at 1 GB/s of growth a tenth of a
	// second is 100 MB.
	Every = 100 * time.Millisecond
)

// next is the level for a use in percent, coming from a level.
func next(from Level, percent uint64) Level {
	switch {
	case percent >= criticalPercent || (from == Critical && percent >= criticalPercent-hysteresis):
		return Critical
	case percent >= highPercent || (from >= High && percent >= highPercent-hysteresis):
		return High
	}
	return Calm
}

// Monitor watches one process, and another one beside it.
type Monitor struct {
	// immutable
	limit  uint64 // of this process
	common uint64 // of both; 0: there is none
	open   func() (gauge, error)

	beside  atomic.Pointer[neighbour] // nil: nobody is there
	collect uint64                    // owned by Run: where the collector works harder; 0: not ours to say
}

// gauge tells how much memory is used. It is opened once: where descriptors run
// short it must still be readable.
type gauge interface {
	used() (uint64, error)
	Close() error
}

// New makes a monitor for a limit in bytes, and has the garbage collector keep
// below it. common is what this process shares with one beside it; 0: there is no limit
// to that.
func New(limit, common uint64) *Monitor {
	m := &Monitor{limit: limit, common: common, open: openResident, collect: limit / 100 * collectPercent}
	debug.SetMemoryLimit(int64(m.collect)) //nolint:gosec // of this machine's memory
	return m
}

// Run tells each change of level until ctx ends, and looks at nobody beside after that.
func (m *Monitor) Run(ctx context.Context, tell func(Level)) error {
	g, err := m.open()
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }() // it was only read
	defer m.setBeside(nil)
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	level := Calm
	for {
		used, err := g.used()
		if err != nil {
			return err
		}
		if now := next(level, m.percent(used)); now != level {
			level = now
			tell(level)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// resident is the resident set of this process.
type resident struct{ *os.File }

func openResident() (gauge, error) {
	f, err := os.Open("/proc/self/statm")
	return resident{f}, err
}

func (r resident) used() (uint64, error) {
	used, _, err := readStatm(r.File)
	return used, err
}

// readStatm reads how much of a process is resident, and how much of that others may
// have as well, since it is of a file.
func readStatm(f *os.File) (resident, shared uint64, err error) {
	var text [128]byte // seven numbers
	n, err := f.ReadAt(text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, 0, err
	}
	fields := strings.Fields(string(text[:n]))
	if len(fields) < 3 {
		return 0, 0, fmt.Errorf("%s: expected at least three numbers", f.Name())
	}
	page := uint64(os.Getpagesize()) //nolint:gosec // a size
	for i, to := range []*uint64{&resident, &shared} {
		pages, err := strconv.ParseUint(fields[1+i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", f.Name(), err)
		}
		*to = pages * page
	}
	return resident, shared, nil
}

// CgroupLimit is the memory limit of this process's cgroup, version 2 or 1; 0:
// there is none, or it cannot be read.
func CgroupLimit() uint64 { return cgroupLimit("/") }

// cgroupLimit looks below root, which tests replace.
func cgroupLimit(root string) uint64 {
	text, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	lowest := uint64(0)
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[1] == "memory":
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		case parts[1] != "":
			continue
		}
		// A limit of any group above counts too.
		for dir := parts[2]; ; dir = path.Dir(dir) {
			if limit := readLimit(path.Join(root, base, dir, file)); limit > 0 && (lowest == 0 || limit < lowest) {
				lowest = limit
			}
			if dir == "/" || dir == "." {
				break
			}
		}
	}
	return lowest
}

// unlimited is what version 1 says where there is no limit, less a page.
const unlimited = 1 << 62

func readLimit(name string) uint64 {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // "max" is no number
	if err != nil || limit >= unlimited {
		return 0
	}
	return limit
}
