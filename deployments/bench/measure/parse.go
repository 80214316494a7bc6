package measure

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// parseMetrics reads Prometheus' text format; labels stay part of the name.
func parseMetrics(text string) map[string]float64 {
	metrics := map[string]float64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			metrics[line[:i]] = v
		}
	}
	return metrics
}

// heap is what Go's runtime says of its memory.
type heap struct {
	mallocs     uint64
	collections uint64
	// pauses are a ring: that of collection n (from 1) is at (n+255) mod 256.
	pauses []uint64
}

// parseHeap reads the text form of a heap profile, which ends with the runtime's
// statistics.
func parseHeap(text string) (heap, error) {
	var h heap
	var err error
	number := func(s string) uint64 {
		n, e := strconv.ParseUint(s, 10, 64)
		err = errors.Join(err, e)
		return n
	}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			continue
		}
		switch name {
		case "# Mallocs":
			h.mallocs = number(value)
		case "# NumGC":
			h.collections = number(value)
		case "# PauseNs":
			for _, s := range strings.Fields(strings.Trim(value, "[]")) {
				h.pauses = append(h.pauses, number(s))
			}
		}
	}
	if err == nil && (h.mallocs == 0 || len(h.pauses) == 0) {
		err = errors.New("no statistics in it")
	}
	if err != nil {
		return h, fmt.Errorf("heap profile: %w", err)
	}
	return h, nil
}

// longest is the longest pause, in nanoseconds, of the collections after the
// first so many.
func (h heap) longest(after uint64) uint64 {
	var longest uint64
	size := uint64(len(h.pauses))
	for n := max(after, h.collections-min(h.collections, size)) + 1; n <= h.collections; n++ {
		longest = max(longest, h.pauses[(n+size-1)%size])
	}
	return longest
}

// toolResult is what wrk or h2load says at its end.
type toolResult struct {
	Requests uint64
	// Failed are answers with other statuses, and errors of sockets.
	Failed uint64
	Detail string
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in `)
	wrkStatuses = regexp.MustCompile(`(?m)^\s*Non-2xx or 3xx responses: (\d+)`)
	wrkSockets  = regexp.MustCompile(`(?m)^\s*Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
)

// parseWrk reads wrk's output.
func parseWrk(text string) (toolResult, error) {
	var r toolResult
	m := wrkRequests.FindStringSubmatch(text)
	if m == nil {
		return r, fmt.Errorf("wrk: no count of requests in %.200q", text)
	}
	var details []string
	number := func(s string) uint64 {
		n, _ := strconv.ParseUint(s, 10, 64) // digits by the expression
		return n
	}
	r.Requests = number(m[1])
	if m := wrkStatuses.FindStringSubmatch(text); m != nil {
		r.Failed += number(m[1])
		details = append(details, strings.TrimSpace(m[0]))
	}
	if m := wrkSockets.FindStringSubmatch(text); m != nil {
		for _, n := range m[1:] {
			r.Failed += number(n)
		}
		details = append(details, strings.TrimSpace(m[0]))
	}
	r.Detail = strings.Join(details, "; ")
	return r, nil
}

var h2loadRequests = regexp.MustCompile(`(?m)^requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)

// parseH2load reads h2load's output. What it calls total and failed contains
// requests that were under way when its time was over, so failures are answers
// with other statuses, and errors.
func parseH2load(text string) (toolResult, error) {
	m := h2loadRequests.FindStringSubmatch(text)
	s := h2loadStatuses.FindStringSubmatch(text)
	if m == nil || s == nil {
		return toolResult{}, fmt.Errorf("h2load: no count of requests in %.200q", text)
	}
	number := func(s string) uint64 {
		n, _ := strconv.ParseUint(s, 10, 64) // digits by the expression
		return n
	}
	r := toolResult{Requests: number(m[2])}
	for _, n := range append(m[4:6], s[2:]...) {
		r.Failed += number(n)
	}
	if r.Failed > 0 {
		r.Detail = strings.TrimSpace(m[0]) + "; " + strings.TrimSpace(s[0])
	}
	return r, nil
}

var h2loadStatuses = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
