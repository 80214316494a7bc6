// Command testsummary reads the output of `go test -json` and prints what a
// person wants to see of it: each package's closing line as it ends, the output
// of what failed, and at the end what was skipped and why, the slowest tests and
// the totals. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// slowest is how many of the slowest tests are named.
const slowest = 5

func main() {
	s := summary{output: map[string]*bytes.Buffer{}}
	if err := s.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(2)
	}
	s.print(os.Stdout)
	if s.failed() {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Elapsed    float64
	Output     string
}

type test struct {
	name    string
	seconds float64
	reason  string
}

type summary struct {
	output            map[string]*bytes.Buffer // by package and test, until it ends
	closing           []string                 // the packages' closing lines
	passed            int
	failures, skipped []test
	tests             []test
	broken            int // packages that failed, or did not build
}

func (s *summary) failed() bool { return s.broken > 0 || len(s.failures) > 0 }

func (s *summary) read(r io.Reader, w io.Writer) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil || e.Action == "" {
			fmt.Fprintln(w, lines.Text())
			continue
		}
		s.event(e, w)
	}
	return lines.Err()
}

func (s *summary) event(e event, w io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		if s.output[key] == nil {
			s.output[key] = new(bytes.Buffer)
		}
		s.output[key].WriteString(e.Output)
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "pass", "fail", "skip":
		text := ""
		if b := s.output[key]; b != nil {
			text = b.String()
			delete(s.output, key)
		}
		if e.Test == "" {
			s.packageEnded(e, text, w)
		} else {
			s.testEnded(e, text, w)
		}
	}
}

func (s *summary) testEnded(e event, text string, w io.Writer) {
	t := test{name: e.Package + " " + e.Test, seconds: e.Elapsed}
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failures = append(s.failures, t)
		fmt.Fprint(w, text)
	case "skip":
		t.reason = reason(text)
		s.skipped = append(s.skipped, t)
	}
	if !strings.Contains(e.Test, "/") {
		s.tests = append(s.tests, t)
	}
}

func (s *summary) packageEnded(e event, text string, w io.Writer) {
	if e.Action == "fail" {
		s.broken++
		// What the package itself printed: a panic, a race, a failed TestMain.
		fmt.Fprint(w, text)
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "[no tests to run]") {
			continue
		}
		if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "FAIL\t") {
			line = strings.TrimRight(line, "\n")
			s.closing = append(s.closing, line)
			if e.Action != "fail" {
				fmt.Fprintln(w, line)
			}
		}
	}
}

// reason finds the text that a test gave to t.Skip: the last line that is not
// go test's own.
func reason(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			last = line
		}
	}
	return last
}

func (s *summary) print(w io.Writer) {
	fmt.Fprintln(w, "\nPackages")
	for _, line := range s.closing {
		fmt.Fprintln(w, line)
	}
	slices.SortStableFunc(s.tests, func(a, b test) int { return cmp.Compare(b.seconds, a.seconds) })
	if n := min(slowest, len(s.tests)); n > 0 {
		fmt.Fprintln(w, "\nSlowest")
		for _, t := range s.tests[:n] {
			fmt.Fprintf(w, "  %6.1fs  %s\n", t.seconds, t.name)
		}
	}
	if len(s.skipped) > 0 {
		fmt.Fprintln(w, "\nSkipped")
		for _, t := range s.skipped {
			fmt.Fprintf(w, "  %s: %s\n", t.name, t.reason)
		}
	}
	if len(s.failures) > 0 {
		fmt.Fprintln(w, "\nFailed")
		for _, t := range s.failures {
			fmt.Fprintf(w, "  %s\n", t.name)
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped; %d packages, %d of them failed\n",
		s.passed, len(s.failures), len(s.skipped), len(s.closing), s.broken)
}
