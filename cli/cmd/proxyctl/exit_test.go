package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

func TestEachKindOfFailureHasItsExitStatus(t *testing.T) {
	nobody := httptest.NewServer(nil)
	nobody.Close()
	stranger := httptest.NewServer(http.NotFoundHandler())
	defer stranger.Close()
	sh := newShell(t)
	sh.must("apply", "-f", firstFile)
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"get routes", statusDone, ""},
		{"--help", statusDone, ""},
		{"apply --help", statusDone, ""},
		{"diff -f testdata/first.yaml", statusDone, ""},
		{"diff 0", statusFailed, "9 created"},
		{"get route none", statusFailed, "Route/none: there is no such resource"},
		{"delete upstream api-v1", statusFailed, "Upstream/api-v1"},
		{"apply -f testdata/none.yaml", statusFailed, "none.yaml"},
		{"rollback 99", statusFailed, "revision 99"},
		{"--server " + stranger.URL + " get routes", statusFailed, "not one of a proxyfleet control plane"},
		{"", statusDone, ""},
		{"aply", statusWrongUse, "error: unknown command \"aply\" (did you mean \"apply\"?)\nRun 'proxyctl --help' for usage.\n"},
		{"aply -f shop.yaml", statusWrongUse, "error: unknown command \"aply\" (did you mean \"apply\"?)\nRun 'proxyctl --help' for usage.\n"},
		{"set wieght --message x route/a b=1", statusWrongUse, `did you mean "weight"?`},
		{"nodes --nope", statusWrongUse, "unknown flag: --nope"},
		{"lint -f shop.yaml", statusWrongUse, `unknown command "lint": it is one of proxy-dataplane's`},
		{"help", statusDone, ""},
		{"help rollback", statusDone, ""},
		{"help nodes delete", statusDone, ""},
		{"help NOSUCH", statusWrongUse, "error: unknown command \"NOSUCH\"\nRun 'proxyctl --help' for usage.\n"},
		{"help rolback", statusWrongUse, `did you mean "rollback"?`},
		{"help nodes delte", statusWrongUse, `did you mean "delete"?`},
		{"NOSUCH --help", statusWrongUse, "error: unknown command \"NOSUCH\"\nRun 'proxyctl --help' for usage.\n"},
		{"--help aply", statusWrongUse, `did you mean "apply"?`},
		{"nodes delte -h", statusWrongUse, `did you mean "delete"?`},
		{"nodes --help", statusDone, ""},
		{"create --help", statusDone, ""},
		{"vip shop --help", statusDone, ""},
		{"set wieght", statusWrongUse, `did you mean "weight"?`},
		{"apply", statusWrongUse, "expected -f FILE"},
		{"apply shop.yaml", statusWrongUse, "expected -f"},
		{"create policy x", statusWrongUse, "unknown command"},
		{"apply --no-such-flag", statusWrongUse, "error: unknown flag: --no-such-flag\nFor example: proxyctl apply -f shop.yaml\n"},
		{"apply -f x --wiat", statusWrongUse, "unknown flag: --wiat (did you mean --wait?)"},
		{"apply -f x -wait", statusWrongUse, "did you mean --wait?"},
		{"apply -f", statusWrongUse, "--filename: expected a value"},
		{"apply -f x --timeout 5", statusWrongUse, `--timeout: "5": expected a duration`},
		{"apply -f x --timeout 0s", statusWrongUse, "--timeout"},
		{"apply -f x --wait --dry-run", statusWrongUse, "exclude"},
		{"apply -f - -f -", statusWrongUse, "once only"},
		{"get", statusWrongUse, "error: expected KIND [NAME…] | KIND/NAME… | all\nFor example: proxyctl get routes\n"},
		{"status node-1", statusWrongUse, `"node-1": proxyctl status takes flags only`},
		{"rollback", statusWrongUse, "error: expected REVISION\nFor example: proxyctl rollback 41 --dry-run\n"},
		{"rollback 1 2", statusWrongUse, `"2": expected no more than REVISION`},
		{"context set prod", statusWrongUse, `expected NAME URL, and not only "prod"`},
		{"drain", statusWrongUse, "expected NODE…"},
		{"get rout", statusWrongUse, `nodes (did you mean "route"?)`},
		{"describe upstrems/api", statusWrongUse, `(did you mean "upstreams"?)`},
		{"get x", statusWrongUse, "rolloutpolicies, nodes\n"},
		{"get routes -o xml", statusWrongUse, "expected one of table, wide, name, json, yaml"},
		{"status -o name", statusWrongUse, "expected one of table, wide, json, yaml"},
		{"status --watch -o yaml", statusWrongUse, "--watch has no -o yaml"},
		{"drain node-1 -o wide", statusWrongUse, "proxyctl drain has no -o"},
		{"get routes -l =x", statusWrongUse, "-l"},
		{"apply -f x -o wide", statusWrongUse, "expected one of table, json, yaml"},
		{"completion tcsh", statusWrongUse, `"tcsh": expected one of bash, zsh, fish, powershell`},
		{"rollback two", statusWrongUse, "expected a number"},
		{"delete routes", statusWrongUse, "expected a name"},
		{"delete route a -f x", statusWrongUse, ""},
		{"set weight listener/web a=1", statusWrongUse, "expected a route or an upstream"},
		{"set weight route/api api-v1", statusWrongUse, "NAME=WEIGHT"},
		{"create route r", statusWrongUse, "expected one of --forward, --redirect, --respond\n"},
		{"create route r --exact / --prefix / --respond 200", statusWrongUse, "error: --exact and --prefix exclude each other\n"},
		{"create listener l", statusWrongUse, "error: --port: missing\nFor example: proxyctl create listener web --port 8080\n"},
		{"status --server x --context y", statusWrongUse, "exclude each other"},
		{"status --server ftp://x", statusWrongUse, "expected a URL"},
		{"status --server 127.0.0.1:7400", statusWrongUse, "expected a URL such as http://127.0.0.1:7400"},
		{"status --server localhost:7400", statusWrongUse, "expected a URL such as http://127.0.0.1:7400"},
		{"status --context nowhere", statusWrongUse, "no such context"},
		{"history --limit 0", statusWrongUse, "--limit"},
		{"demo --nodes 0", statusWrongUse, "--nodes"},
		{"demo --nodes 10", statusWrongUse, "1 to 9"},
		{"epoch acept", statusWrongUse, `did you mean "accept"?`},
		{"epoch accept 7", statusWrongUse, "takes flags only"},
		{"epoch accept --epoch x", statusWrongUse, `--epoch: "x": expected a whole number`},
		{"epoch accept --timeout 0s", statusWrongUse, "--timeout"},
		{"epoch -o wide", statusWrongUse, "expected one of table, json, yaml"},
		{"epoch accept --epoch 8", statusFailed, "nothing was accepted"},
		{"epoch --server " + nobody.URL, statusNoServer, ""},
		{"diff", statusWrongUse, "expected -f FILE or a REVISION"},
		{"diff 1 2 3", statusWrongUse, `"3": expected no more than -f FILE… | REVISION [REVISION]`},
		{"diff 99", statusCannotCompare, "revision 99"},
		{"diff -f testdata/bad.yaml", statusCannotCompare, "8 problems"},
		{"diff 1 --server " + nobody.URL, statusNoServer, "no control plane answers"},
		{"status --server " + nobody.URL, statusNoServer, "proxyctl demo"},
		{"apply -f testdata/bad.yaml --dry-run --server " + nobody.URL, statusNoServer, ""},
		{"version --server " + nobody.URL, statusNoServer, ""},
		{"version --client --server " + nobody.URL, statusDone, ""},
		{"--version --server " + nobody.URL, statusDone, ""},
		{"delete route/a route/b --server " + nobody.URL, statusNoServer, ""},
		{"nodes delete node-1 --server " + nobody.URL, statusNoServer, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			sh.t = t
			r := sh.run(strings.Fields(c.args)...)
			if r.status != c.status || !strings.Contains(r.stderr, c.says) {
				t.Errorf("status %d, want %d\n%s%s", r.status, c.status, r.stdout, r.stderr)
			}
			if c.status == statusWrongUse && !strings.Contains(r.stderr, "--help' for usage") {
				t.Errorf("no word about --help in %q", r.stderr)
			}
		})
	}
}

func TestTheFlagSaysTheVersionAsTheCommandDoes(t *testing.T) {
	sh := newShell(t)
	for _, flag := range []string{"-v", "--version"} {
		if got, want := sh.must(flag), sh.must("version", "--client"); got != want || !strings.HasPrefix(got, "proxyctl dev (commit ") {
			t.Errorf("%s: %q, want %q", flag, got, want)
		}
	}
}

func TestVariablesThatNobodyReadsAreTold(t *testing.T) {
	sh := newShell(t)
	sh.env["PROXYFLEET_NODEID"] = "edge-1"
	sh.env["PROXYFLEET_DATA_DIR"] = "/tmp" // the control plane's
	sh.env["PROXYCTL_SERVER"] = "http://10.0.0.1:7400"
	r := sh.run("context", "list")
	want := "warning: PROXYFLEET_NODEID is not read: no flag has this variable (did you mean PROXYFLEET_NODE_ID?)\n" +
		"warning: PROXYCTL_SERVER is not read: --server, --context and PROXYCTL_CONFIG say which control plane is meant\n"
	if r.status != statusDone || r.stderr != want {
		t.Errorf("status %d, %q", r.status, r.stderr)
	}
}

func TestAContextFileThatIsGoneIsNotTheControlPlaneOfThisMachine(t *testing.T) {
	sh := newShell(t)
	sh.env["PROXYCTL_CONFIG"] += ".gone"
	contains(t, sh.fails(statusWrongUse, "status"), "PROXYCTL_CONFIG: ", "proxyctl.yaml.gone")
	sh.must("status", "--server", sh.server.URL)
	sh.must("context", "set", "anew", sh.server.URL) // makes it
	sh.must("status")
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	a := &app{}
	root := a.root()
	commands := root.Commands()
	for i := 0; i < len(commands); i++ {
		c := commands[i]
		commands = append(commands, c.Commands()...)
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if c.Example == "" && !c.HasSubCommands() && !c.Hidden && c.Name() != "help" {
			t.Errorf("%s: no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example %q is not indented", c.CommandPath(), line)
			}
		}
	}
}

// quoted is a word of a command line that blanks do not end.
var quoted = regexp.MustCompile(`"[^"]*"|'[^']*'`)

func TestExamplesAreWhatTheCommandsTake(t *testing.T) {
	commands := (&app{}).root().Commands()
	for i := 0; i < len(commands); i++ {
		commands = append(commands, commands[i].Commands()...)
		for line := range strings.Lines(commands[i].Example) {
			_, line, _ = strings.Cut(quoted.ReplaceAllString(line, "x"), "proxyctl ")
			if end := strings.IndexAny(line, "|&>#)"); end >= 0 {
				line = line[:end]
			}
			c, rest, err := (&app{}).root().Find(strings.Fields(line))
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err == nil {
				err = c.ValidateArgs(c.Flags().Args())
			}
			if err == nil {
				err = errors.Join(c.ValidateRequiredFlags(), c.ValidateFlagGroups())
			}
			if err != nil {
				t.Errorf("%s: proxyctl %s: %v", commands[i].CommandPath(), line, err)
			}
		}
	}
}

func TestServerErrorsAreFailures(t *testing.T) {
	sh := newShell(t)
	for _, e := range api.ErrorTypes() {
		sh.server.Before(func(*http.Request) *api.Error { return api.NewError(e, "it went wrong") })
		if r := sh.run("status"); r.status != statusFailed || r.stderr == "" {
			t.Errorf("%s: status %d, %q", e, r.status, r.stderr)
		}
	}
}

// fullDisk is standard output on a disk that has room for some bytes.
type fullDisk struct{ room int }

func (d *fullDisk) Write(text []byte) (int, error) {
	n := min(len(text), d.room)
	d.room -= n
	if n < len(text) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestWhatCouldNotBePrintedIsAFailure(t *testing.T) {
	sh := newShell(t)
	sh.must("apply", "-f", firstFile)
	for _, args := range []string{"get all -o yaml", "get routes", "get all -o json", "history", "completion bash", "apply -f " + firstFile, "--help"} {
		for _, room := range []int{0, 10} {
			sh.stdout = &fullDisk{room}
			r := sh.run(strings.Fields(args)...)
			if r.status != statusFailed || !strings.Contains(r.stderr, syscall.ENOSPC.Error()) {
				t.Errorf("%s, with room for %d bytes: status %d, %q", args, room, r.status, r.stderr)
			}
		}
	}
	sh.stdout = &fullDisk{}
	sh.fails(statusNoServer, "status", "--server", "http://127.0.0.1:1")
}
