package main

import (
	"io"
	"strings"
	"testing"
)

// events are lines of `go test -json`: words are action, package, test, and output.
func events(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		w := append(strings.SplitN(line, " ", 4), "", "", "")
		b.WriteString(`{"Action":"` + w[0] + `","Package":"` + w[1] + `","Test":"` + w[2] + `","Output":"` + w[3] + `\n"}` + "\n")
	}
	return b.String()
}

func TestWhatFailedMayRunAgainUnlessChanceDoesNotExplainIt(t *testing.T) {
	s := newSummary()
	if err := s.read(strings.NewReader(events(
		"fail late TestA/x", "fail late TestA", "fail late TestB", "pass late TestC", "fail late",
		"output race TestA WARNING: DATA RACE", "fail race TestA", "fail race TestB", "fail race",
		"output dead TestA panic: nil", "fail dead TestA", "fail dead",
		"fail many Test1", "fail many Test2", "fail many Test3", "fail many Test4", "fail many",
		"fail unbuilt",
	)), io.Discard); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	s.printAgain(&out)
	if got, want := out.String(), "late ^(TestA|TestB)$\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAPackageThatFailedAsAWholeStaysFailed although another part of its tests passes.
func TestAPackageThatFailedAsAWholeStaysFailed(t *testing.T) {
	s := newSummary()
	if err := s.read(strings.NewReader(events("pass p TestA", "fail p", "pass p TestB", "pass p")), io.Discard); err != nil {
		t.Fatal(err)
	}
	if !s.failed() {
		t.Error("it is forgotten")
	}
}

func TestWhatPassedTheSecondTimeIsNoFailureAndTold(t *testing.T) {
	for _, c := range []struct {
		name, second, told string
		failed             bool
	}{
		{"passes", "pass", "passed alone (flaky: mend them)\n  p TestA\n", false},
		{"fails", "fail", "Failed\n  p TestA\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSummary()
			if err := s.read(strings.NewReader(events("fail p TestA", "fail p", c.second+" p TestA", c.second+" p")), io.Discard); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			s.print(&out)
			if s.failed() != c.failed || !strings.Contains(out.String(), c.told) {
				t.Errorf("failed is %v, and it prints\n%s", s.failed(), out.String())
			}
		})
	}
}
