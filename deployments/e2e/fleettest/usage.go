package fleettest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc/PID/stat: the kernel's USER_HZ, 100
// wherever Linux runs.
const clockTick = 10 * time.Millisecond

// Resident is the process's resident memory, in bytes.
func (p *Process) Resident() int64 {
	p.t.Helper()
	fields := strings.Fields(p.proc("statm"))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// Descriptors is how many descriptors the process has open.
func (p *Process) Descriptors() int {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(p.PID()), "fd"))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(entries)
}

// Pipes is how many of them are ends of pipes.
func (p *Process) Pipes() (count int) {
	p.t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(p.PID()), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "pipe:") {
			count++
		}
	}
	return count
}

// CPU is the processor time that the process has used, of user and system.
func (p *Process) CPU() time.Duration {
	p.t.Helper()
	fields, ok := statFields(p.PID())
	if !ok {
		p.t.Fatalf("process %d has ended", p.PID())
	}
	var sum int64
	for _, f := range fields[statUserTime : statUserTime+2] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum) * clockTick
}

// Fields of /proc/PID/stat, as statFields has them.
const (
	statParent   = 1
	statUserTime = 11 // then that in the kernel, and both of children that ended
)

// statFields are what /proc/PID/stat has after the program's name, which stands in
// brackets and may hold spaces. False: there is no such process.
func statFields(pid int) (fields []string, ok bool) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, false
	}
	fields = strings.Fields(string(line[bytes.LastIndexByte(line, ')')+1:]))
	return fields, len(fields) >= statUserTime+4
}

func (p *Process) proc(file string) string {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.PID(), file))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}
