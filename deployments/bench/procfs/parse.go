package procfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// TicksPerSecond is USER_HZ, in which the kernel tells times; 100 on every
// architecture that we build for.
const TicksPerSecond = 100

// Stat is what /proc/PID/stat says of a process and all of its threads.
type Stat struct {
	PID, Parent int
	// In ticks. The sum is exact to a tick; how it divides between user and system
	// is sampled by the timer interrupt where the kernel counts by ticks.
	User, System uint64
	// Of children that ended and were waited for.
	ChildrenUser, ChildrenSystem uint64
}

// Fields of /proc/PID/stat behind the name, counted from 0 (field 3 of the
// manual is the first).
const (
	statParent = 1
	statUser   = 11
	statSystem = 12
	statCUser  = 13
	statCSys   = 14
)

// ParseStat reads /proc/PID/stat. The name, in parentheses, may hold anything,
// so fields are counted from the last parenthesis.
func ParseStat(text string) (Stat, error) {
	var s Stat
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("stat: no name in %.60q", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) <= statCSys {
		return s, fmt.Errorf("stat: %d fields in %.60q", len(fields), text)
	}
	var err error
	number := func(field string) uint64 {
		n, e := strconv.ParseUint(field, 10, 64)
		err = errors.Join(err, e)
		return n
	}
	s.PID = int(number(strings.TrimSpace(text[:open])))
	s.Parent = int(number(fields[statParent]))
	s.User, s.System = number(fields[statUser]), number(fields[statSystem])
	s.ChildrenUser, s.ChildrenSystem = number(fields[statCUser]), number(fields[statCSys])
	if err != nil {
		return Stat{}, fmt.Errorf("stat: %w", err)
	}
	return s, nil
}

// ParseSizes reads the lines of /proc/PID/status and /proc/PID/smaps_rollup that
// end in kB, as bytes by name.
func ParseSizes(text string) map[string]uint64 {
	sizes := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) != 2 || fields[1] != "kB" {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
			sizes[name] = n << 10
		}
	}
	return sizes
}

// Processor is the time of one processor since boot, in ticks.
type Processor struct {
	// Busy is spent on anything, Steal taken by the hypervisor.
	Busy, Idle, Steal uint64
}

// ParseProcessors reads the lines cpu0, cpu1, … of /proc/stat.
func ParseProcessors(text string) (map[int]Processor, error) {
	processors := map[int]Processor{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") || fields[0] == "cpu" {
			continue
		}
		id, err := strconv.Atoi(fields[0][len("cpu"):])
		if err != nil {
			return nil, fmt.Errorf("processors: %w", err)
		}
		var t [8]uint64 // user nice system idle iowait irq softirq steal
		for i := range t {
			if t[i], err = strconv.ParseUint(fields[i+1], 10, 64); err != nil {
				return nil, fmt.Errorf("processors: %w", err)
			}
		}
		processors[id] = Processor{Busy: t[0] + t[1] + t[2] + t[5] + t[6], Idle: t[3] + t[4], Steal: t[7]}
	}
	if len(processors) == 0 {
		return nil, errors.New("processors: none found")
	}
	return processors, nil
}

// Family is a process and all that descend from it, in the order of all.
func Family(root int, all []Stat) []Stat {
	in := map[int]bool{root: true}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if !in[s.PID] && in[s.Parent] {
				in[s.PID], grown = true, true
			}
		}
	}
	var family []Stat
	for _, s := range all {
		if in[s.PID] {
			family = append(family, s)
		}
	}
	return family
}
