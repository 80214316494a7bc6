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

func TestWrongUseSaysWhatWasExpected(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--listen-addr ::", "unknown flag: --listen-addr (did you mean --listen-address?)\nTry proxy-dataplane --help."},
		{"--loops many", `--loops: "many": expected a whole number`},
		{"--state-dir", "--state-dir: expected a value (DIR for"},
		{"--control-plane 10.0.0.5 --insecure", `--control-plane: "10.0.0.5": expected HOST:PORT, such as 10.0.0.5:7401`},
		{"--control-plane 127.0.0.1:7401,10.0.0.5:7401", `--control-plane: "10.0.0.5:7401" is not a loopback address`},
		{"--control-plane=", "--control-plane: expected HOST:PORT"},
		{"--labels zone=a,rack=7/b", `--labels: rack: got "7/b", expected letters, digits`},
		{"--labels -x=a", `--labels: -x: got "-x", expected letters, digits`},
		{"--admin-address 10.0.0.11:7402", `--admin-address: "10.0.0.11:7402" is not a loopback address`},
		{"upgrad", `unknown command "upgrad" (did you mean "upgrade"?)`},
		{"serve", "unknown command \"serve\"\n"},
		{"lnt -f shop.yaml", "unknown command \"lnt\" (did you mean \"lint\"?)\nTry proxy-dataplane --help."},
		{"help NOSUCH", "unknown command \"NOSUCH\"\nTry proxy-dataplane --help."},
		{"upgrad --help", "unknown command \"upgrad\" (did you mean \"upgrade\"?)\nTry proxy-dataplane --help."},
		{"-h NOSUCH", "unknown command \"NOSUCH\"\n"},
		{"help upgrad", `unknown command "upgrad" (did you mean "upgrade"?)`},
		{"lint -f - -f -", "-f -: standard input can be read once only"},
		{"lint -f=", "lint: stat"},
		{"explain -f a -f a/b http://shop.test/", "explain: stat a: "},
		{"lint shop.yaml", "as in lint -f shop.yaml\nTry proxy-dataplane lint --help."},
		{"lint --fil x", "(did you mean --file?)\nTry proxy-dataplane lint --help."},
		{"explain -f shop.yaml", "expected -f FILE and a URL, as in explain -f shop.yaml http://shop.test/cart"},
		{"explain http://shop.test/", "expected -f FILE and a URL"},
		{"explain -f a http://shop.test/ b", "expected -f FILE and a URL"},
	} {
		if status, _, errs := command(t, strings.Fields(c.args)...); status != exitUsage || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit status %d, want something about %q:\n%s", c.args, status, c.says, errs)
		}
	}
}

func TestHelpShowsTheCommandThatItIsAskedFor(t *testing.T) {
	for args, says := range map[string]string{"help": "Available Commands:", "help lint": "proxy-dataplane lint -f FILE…", "--help": "Available Commands:", "lint --help": "proxy-dataplane lint -f FILE…"} {
		if status, out, errs := command(t, strings.Fields(args)...); status != exitDone || !strings.Contains(out, says) {
			t.Errorf("%s: exit status %d, want %q:\n%s%s", args, status, says, out, errs)
		}
	}
}
