// Command testsummary reads the output of `go test -json` and prints what a
// person wants to see of it: each package's closing line as it ends, the output
// of what failed, and at the end what was skipped and why, the slowest tests and
// the totals. It exits with 1 if anything failed, unless it passed later in the same
// output; that is told.
//
// With -again it prints what may be run a second time instead: a line for each package,
// with its import path and a pattern for `go test -run`.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// slowest is how many of the slowest tests are named.
const slowest = 5

func main() {
	again := flag.Bool("again", false, "print what may be run a second time")
	flag.Parse()
	s := newSummary()
	show := io.Writer(os.Stdout)
	if *again {
		show = io.Discard
	}
	if err := s.read(os.Stdin, show); err != nil {
		fmt.Fprintln(os.Stderr, "testsummary:", err)
		os.Exit(2)
	}
	if *again {
		s.printAgain(os.Stdout)
		return
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
	pkg, name string
	seconds   float64
	reason    string
}

func (t test) String() string { return t.pkg + " " + t.name }

type summary struct {
	output            map[string]*bytes.Buffer // by package and test, until it ends
	closing           []string                 // the packages' closing lines
	passed            int
	failures, skipped []test
	later             []test // failed, and passed when they ran again
	tests             []test
	broken            map[string]bool // packages that failed, or did not build
	wrong             map[string]bool // packages with what chance does not explain
}

func newSummary() *summary {
	return &summary{output: map[string]*bytes.Buffer{}, broken: map[string]bool{}, wrong: map[string]bool{}}
}

func (s *summary) failed() bool { return len(s.broken) > 0 || len(s.failures) > 0 }

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
	t := test{pkg: e.Package, name: e.Test, seconds: e.Elapsed}
	switch e.Action {
	case "pass":
		s.passed++
		if n := slices.IndexFunc(s.failures, func(f test) bool { return f.String() == t.String() }); n >= 0 {
			s.later = append(s.later, s.failures[n])
			s.failures = slices.Delete(s.failures, n, n+1)
		}
	case "fail":
		if !slices.ContainsFunc(s.failures, func(f test) bool { return f.String() == t.String() }) {
			s.failures = append(s.failures, t)
		}
		s.look(e.Package, text)
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
	named := slices.ContainsFunc(s.failures, func(t test) bool { return t.pkg == e.Package })
	if e.Action == "pass" && !named && !s.wrong[e.Package] {
		delete(s.broken, e.Package)
	}
	if e.Action == "fail" {
		s.broken[e.Package] = true
		s.look(e.Package, text)
		if !named { // it did not build, or TestMain found something
			s.wrong[e.Package] = true
		}
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

// look finds what is no matter of chance in what a failure printed: it would be hidden if
// it did not come a second time.
func (s *summary) look(pkg, text string) {
	for _, sign := range []string{"DATA RACE", "panic: ", "fatal error: "} {
		if strings.Contains(text, sign) {
			s.wrong[pkg] = true
		}
	}
}

// mostAgain is how many tests of a package may fail by chance; more is no chance.
const mostAgain = 3

// printAgain names the tests that failed in packages whose failures may be chance: a
// machine that stood still while a test measured time.
func (s *summary) printAgain(w io.Writer) {
	failed := map[string][]string{}
	for _, t := range s.failures {
		top, _, _ := strings.Cut(t.name, "/")
		if !slices.Contains(failed[t.pkg], top) {
			failed[t.pkg] = append(failed[t.pkg], top)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(failed)) {
		if names := failed[pkg]; !s.wrong[pkg] && len(names) <= mostAgain {
			fmt.Fprintf(w, "%s ^(%s)$\n", pkg, strings.Join(names, "|"))
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
			fmt.Fprintf(w, "  %6.1fs  %s\n", t.seconds, t)
		}
	}
	if len(s.skipped) > 0 {
		fmt.Fprintln(w, "\nSkipped")
		for _, t := range s.skipped {
			fmt.Fprintf(w, "  %s: %s\n", t, t.reason)
		}
	}
	list(w, "Failed, and passed alone (flaky: mend them)", s.later)
	list(w, "Failed", s.failures)
	fmt.Fprintf(w, "\n%d passed, %d failed, %d skipped; %d packages, %d of them failed\n",
		s.passed, len(s.failures), len(s.skipped), len(s.closing), len(s.broken))
}

func list(w io.Writer, title string, tests []test) {
	if len(tests) == 0 {
		return
	}
	fmt.Fprintln(w, "\n"+title)
	for _, t := range tests {
		fmt.Fprintf(w, "  %s\n", t)
	}
}
