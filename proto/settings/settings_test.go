package settings_test

import (
	"errors"
	"os"
	"path/filepath"
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
		{"unknown key", "nodeid: a\n", `unknown key "nodeid"`},
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
