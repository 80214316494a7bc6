// Package textdiff compares texts line by line and prints what differs in the
// unified format, as diff -u does.
//
// It is pure. Time and memory grow with (lines + differences) × differences;
// beyond maxDistance differences the rest counts as replaced whole, so that two
// large and unrelated texts cost no more than a bounded amount.
package textdiff

import (
	"fmt"
	"strings"
)

const (
	// context is how many equal lines stand around a difference.
	context = 3
	// maxDistance bounds the search for the shortest script: its trace takes
	// about distance² numbers, 8 MB here.
	maxDistance = 1000
)

// Kind tells the lines of a comparison apart.
type Kind byte

// The kinds of lines.
const (
	Equal   Kind = ' '
	Removed Kind = '-'
	Added   Kind = '+'
)

// line is one line of a comparison.
type line struct {
	kind Kind
	text string
}

// Unified compares before and after and returns the differences with names in
// the head; empty if there are none.
func Unified(beforeName, afterName, before, after string) string {
	if before == after {
		return ""
	}
	lines := compare(split(before), split(after))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", beforeName, afterName)
	for _, h := range hunks(lines) {
		writeHunk(&b, lines, h)
	}
	return b.String()
}

// split cuts a text into its lines. A last line without its newline is told
// apart by the usual remark.
func split(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.SplitAfter(text, "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\n\\ No newline at end of file\n"
	}
	return lines
}

// compare returns the lines of both texts in one sequence.
func compare(a, b []string) []line {
	// Equal ends need no search.
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	lines := make([]line, 0, len(a)+len(b))
	for _, t := range a[:head] {
		lines = append(lines, line{Equal, t})
	}
	lines = append(lines, shortest(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, t := range a[len(a)-tail:] {
		lines = append(lines, line{Equal, t})
	}
	return lines
}

// shortest finds the shortest edit script by Myers' algorithm (An O(ND)
// Difference Algorithm and Its Variations, 1986).
func shortest(a, b []string) []line {
	limit := min(len(a)+len(b), maxDistance)
	// reach[limit+k] is how far in a diagonal k has come; trace keeps it by round.
	reach := make([]int, 2*limit+2)
	var trace [][]int
	for d := 0; d <= limit; d++ {
		trace = append(trace, append([]int(nil), reach[limit-d:limit+d+1]...))
		for k := -d; k <= d; k += 2 {
			x := next(reach, limit, d, k)
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			reach[limit+k] = x
			if x >= len(a) && x-k >= len(b) {
				return walkBack(a, b, trace, d)
			}
		}
	}
	var lines []line
	for _, t := range a {
		lines = append(lines, line{Removed, t})
	}
	for _, t := range b {
		lines = append(lines, line{Added, t})
	}
	return lines
}

// next is where round d enters diagonal k: down from k+1 or right from k-1.
func next(reach []int, limit, d, k int) int {
	if d == 0 {
		return 0
	}
	if k == -d || k != d && reach[limit+k-1] < reach[limit+k+1] {
		return reach[limit+k+1]
	}
	return reach[limit+k-1] + 1
}

// walkBack turns the trace into lines, from the end to the beginning.
func walkBack(a, b []string, trace [][]int, d int) []line {
	var reversed []line
	x, y := len(a), len(b)
	for ; d > 0; d-- {
		row := trace[d] // reach before round d, diagonals -d to d
		at := func(k int) int { return row[k+d] }
		k := x - y
		down := k == -d || k != d && at(k-1) < at(k+1)
		from := k - 1
		if down {
			from = k + 1
		}
		fromX := at(from)
		startX := fromX
		if !down {
			startX++
		}
		for ; x > startX; x, y = x-1, y-1 {
			reversed = append(reversed, line{Equal, a[x-1]})
		}
		if down {
			reversed = append(reversed, line{Added, b[y-1]})
		} else {
			reversed = append(reversed, line{Removed, a[x-1]})
		}
		x, y = fromX, fromX-from
	}
	for ; x > 0; x-- {
		reversed = append(reversed, line{Equal, a[x-1]})
	}
	lines := make([]line, 0, len(reversed))
	for i := len(reversed) - 1; i >= 0; i-- {
		lines = append(lines, reversed[i])
	}
	return lines
}

// hunk is a range of lines.
type hunk struct{ start, end int }

// hunks groups the differences with their context.
func hunks(lines []line) []hunk {
	var found []hunk
	for i, l := range lines {
		if l.kind == Equal {
			continue
		}
		start, end := max(0, i-context), min(len(lines), i+1+context)
		if n := len(found); n > 0 && start <= found[n-1].end {
			found[n-1].end = end
			continue
		}
		found = append(found, hunk{start, end})
	}
	return found
}

func writeHunk(b *strings.Builder, lines []line, h hunk) {
	count := func(part []line, other Kind) (n int) {
		for _, l := range part {
			if l.kind != other {
				n++
			}
		}
		return n
	}
	before, after := count(lines[:h.start], Added), count(lines[:h.start], Removed)
	inBefore, inAfter := count(lines[h.start:h.end], Added), count(lines[h.start:h.end], Removed)
	fmt.Fprintf(b, "@@ -%s +%s @@\n", span(before, inBefore), span(after, inAfter))
	for _, l := range lines[h.start:h.end] {
		b.WriteByte(byte(l.kind))
		b.WriteString(l.text)
	}
}

// span is "start,length"; an empty range names the line before it.
func span(start, length int) string {
	switch length {
	case 0:
		return fmt.Sprintf("%d,0", start)
	case 1:
		return fmt.Sprintf("%d", start+1)
	default:
		return fmt.Sprintf("%d,%d", start+1, length)
	}
}
