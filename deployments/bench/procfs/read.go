package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Usage is what a process and its descendants used and hold.
type Usage struct {
	PIDs []int
	// User and System include children that ended.
	User, System time.Duration
}

// Tree are the processes that descend from root, and root.
func Tree(root int) ([]Stat, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var all []Stat
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		s, err := ParseStat(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
	}
	family := Family(root, all)
	if len(family) == 0 {
		return nil, fmt.Errorf("process %d: not there", root)
	}
	return family, nil
}

// Used adds up the times of a tree.
func Used(tree []Stat) Usage {
	var u Usage
	var user, system uint64
	for _, s := range tree {
		u.PIDs = append(u.PIDs, s.PID)
		user += s.User + s.ChildrenUser
		system += s.System + s.ChildrenSystem
	}
	u.User = time.Duration(user) * (time.Second / TicksPerSecond)
	u.System = time.Duration(system) * (time.Second / TicksPerSecond)
	return u
}

func sizes(pid int, file string) (map[string]uint64, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
	if err != nil {
		return nil, err
	}
	return ParseSizes(string(text)), nil
}

// Peak is the greatest resident memory that the processes had: the VmHWM of the
// greatest, and of each other only what it holds privately now, since pages that
// a worker shares with its master would be counted twice.
func Peak(pids []int) (uint64, error) {
	var greatest, sum uint64
	var greatestPrivate uint64
	for _, pid := range pids {
		status, err := sizes(pid, "status")
		if err != nil {
			return 0, err
		}
		private, err := Private(pid)
		if err != nil {
			return 0, err
		}
		sum += private
		if status["VmHWM"] > greatest {
			greatest, greatestPrivate = status["VmHWM"], private
		}
	}
	return sum - greatestPrivate + greatest, nil
}

// Private is the memory that only this process holds and has written to or read.
func Private(pid int) (uint64, error) {
	s, err := sizes(pid, "smaps_rollup")
	return s["Private_Dirty"] + s["Private_Clean"], err
}

// PrivateDirty is the memory of the processes that nothing else holds and that is
// not a copy of a file.
func PrivateDirty(pids []int) (uint64, error) {
	var sum uint64
	for _, pid := range pids {
		s, err := sizes(pid, "smaps_rollup")
		if err != nil {
			return 0, err
		}
		sum += s["Private_Dirty"]
	}
	return sum, nil
}

// Descriptors is how many files the processes have open.
func Descriptors(pids []int) (int, error) {
	n := 0
	for _, pid := range pids {
		entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
		if err != nil {
			return 0, err
		}
		n += len(entries)
	}
	return n, nil
}

// Processors are the machine's.
func Processors() (map[int]Processor, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	return ParseProcessors(string(text))
}
