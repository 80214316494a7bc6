package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// command runs the program and returns its exit status and what it said.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	w := world{getenv: func(string) (string, bool) { return "", false }, stdout: &out, stderr: &errs}
	status = run(context.Background(), args, w)
	return status, out.String(), errs.String()
}

func TestTheFlagSaysTheVersionAsTheCommandDoes(t *testing.T) {
	_, want, _ := command(t, "version")
	for _, flag := range []string{"-v", "--version"} {
		status, got, _ := command(t, flag)
		if status != exitDone || got != want || !strings.HasPrefix(got, "proxy-dataplane dev (commit ") {
			t.Errorf("%s: exit status %d, %q instead of %q", flag, status, got, want)
		}
	}
}
