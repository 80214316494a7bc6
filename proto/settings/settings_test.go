package settings_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/pflag"
)

type values struct {
	name   string
	list   []string
	labels map[string]string
	count  int
	on     bool
	config string
}

func flags(v *values) *pflag.FlagSet {
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.StringVar(&v.name, "node-id", "default", "")
	f.StringSliceVar(&v.list, "control-plane", nil, "")
	f.StringToStringVar(&v.labels, "labels", nil, "")
	f.IntVar(&v.count, "loops", 1, "")
	f.BoolVar(&v.on, "insecure", false, "")
	f.StringVar(&v.config, "config", "", "")
	return f
}

func fill(t *testing.T, file string, env map[string]string, args ...string) (values, error) {
	t.Helper()
	var v values
	f := flags(&v)
	if file != "" {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	err := settings.Fill(f, func(k string) (string, bool) { s, ok := env[k]; return s, ok })
	return v, err
}

func TestAFlagWinsOverAVariableAndAVariableOverTheFile(t *testing.T) {
	file := "node-id: file\nloops: 3\ninsecure: true\ncontrol-plane: [a:1, b:2]\nlabels: {zone: x}\n"
	v, err := fill(t, file, map[string]string{"PROXYFLEET_NODE_ID": "env", "PROXYFLEET_LOOPS": "4"}, "--loops", "5")
	if err != nil {
		t.Fatal(err)
	}
	if v.name != "env" || v.count != 5 || !v.on || strings.Join(v.list, " ") != "a:1 b:2" || v.labels["zone"] != "x" {
		t.Fatalf("%+v", v)
	}
}

func TestWhatIsNotUnderstoodIsRefusedWhereItStands(t *testing.T) {
	for _, c := range []struct{ name, file, want string }{
		{"unknown key", "nodeid: a\n", `c.yaml: unknown key "nodeid" (did you mean "node-id"?)`},
		{"a key of nothing", "server: a\n", `unknown key "server": expected one of control-plane, insecure`},
		{"no YAML", "node-id: [x\n", "c.yaml: yaml: line 1: "},
		{"twice", "loops: 1\nloops: 2\n", "loops"},
		{"list for a value", "node-id: [a]\n", "node-id: got a list"},
		{"map for a value", "node-id: {a: b}\n", "node-id: got a map"},
		{"bad number", "loops: many\n", "loops"},
		{"the file in itself", "config: other\n", `unknown key "config"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := fill(t, c.file, nil)
			if !errors.Is(err, settings.ErrUsage) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := fill(t, "", map[string]string{"PROXYFLEET_LOOPS": "x"}); !errors.Is(err, settings.ErrUsage) || !strings.Contains(err.Error(), "PROXYFLEET_LOOPS") {
		t.Fatalf("a bad variable: %v", err)
	}
}

func TestAVariableThatNobodyReadsIsToldWithTheNearestOne(t *testing.T) {
	got := settings.Stray([]string{
		"HOME=/root", "PROXYFLEET_NODE_ID=a", "PROXYFLEET_DATA_DIR=/d", "PROXYFLEET_BINARY=/b", "PROXYFLEET_OWN=1",
		"PROXYFLEET_NODEID=a", "PROXYFLEET_GRPC_ADDR=127.0.0.1:1", "PROXYFLEET_GRPC_PORT=1", "PROXYFLEET_Loops=1", "PROXYFLEET_SERVER=x",
		"PROXYFLEET_CONFIG=/etc/node.yaml", "PROXYFLEET_HELP=1", "PROXYFLEET_=x",
		// Services proxyfleet and proxyfleet-controlplane of Kubernetes.
		"PROXYFLEET_SERVICE_HOST=10.0.0.1", "PROXYFLEET_SERVICE_PORT=7400", "PROXYFLEET_PORT=tcp://10.0.0.1:7400",
		"PROXYFLEET_CONTROLPLANE_SERVICE_PORT_REST=7400", "PROXYFLEET_CONTROLPLANE_PORT_7401_TCP_ADDR=10.0.0.1",
	}, "PROXYFLEET_OWN")
	want := []string{
		"PROXYFLEET_ is not read: no flag has this variable",
		"PROXYFLEET_CONFIG is not read: only --config names the file",
		"PROXYFLEET_GRPC_ADDR is not read: no flag has this variable (did you mean PROXYFLEET_GRPC_ADDRESS?)",
		"PROXYFLEET_GRPC_PORT is not read: no flag has this variable",
		"PROXYFLEET_HELP is not read: no flag has this variable",
		"PROXYFLEET_Loops is not read: no flag has this variable (did you mean PROXYFLEET_LOOPS?)",
		"PROXYFLEET_NODEID is not read: no flag has this variable (did you mean PROXYFLEET_NODE_ID?)",
		"PROXYFLEET_SERVER is not read: no flag has this variable",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// command has one other command: serve.
type command struct{ flags *pflag.FlagSet }

func (c command) Flags() *pflag.FlagSet { return c.flags }
func (command) HasSubCommands() bool    { return true }
func (command) ValidateArgs(args []string) error {
	return settings.NoSuchCommand(args, func(string) []string { return []string{"serve"} })
}

func TestWhatIsWrongWithAFlagIsSaidInWords(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--node-idd a", "unknown flag: --node-idd (did you mean --node-id?)"},
		{"--node_id=a", "unknown flag: --node_id (did you mean --node-id?)"},
		{"--serve", "unknown flag: --serve"},
		{"-loops 1", "unknown flag: -l in -loops (did you mean --loops?)"},
		{"-x", "unknown flag: -x"},
		{"--loops", "--loops: expected a value (how many)"},
		{"--loops many", `--loops: "many": expected a whole number`},
		{"--loops 99999999999999999999", `--loops: "99999999999999999999": the number is too large or too small`},
		{"--insecure=maybe", `--insecure: "maybe": expected true or false`},
		{"--wait 5", `--wait: "5": expected a duration, such as 30s or 1m30s`},
		{"srve --loops many", `unknown command "srve" (did you mean "serve"?)`},
		{"--labels zone", `--labels: "zone": zone must be formatted as key=value`},
	} {
		f := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.SetOutput(io.Discard)
		f.String("node-id", "", "")
		f.Int("loops", 1, "how many")
		f.Bool("insecure", false, "")
		f.Duration("wait", 0, "")
		f.StringToString("labels", nil, "")
		if err := settings.WrongFlag(command{f}, f.Parse(strings.Fields(c.args))); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.args, err, c.want)
		}
	}
}
