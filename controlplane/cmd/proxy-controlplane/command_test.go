package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/settings"
)

func TestWrongUseIsSaidBeforeAnythingStarts(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, fmt.Sprintf("%x.yaml", text))
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for _, c := range []struct {
		args []string
		env  string
		says string
	}{
		{[]string{"--nonsense"}, "", "unknown flag: --nonsense"},
		{[]string{"--rest-addr", "x"}, "", "unknown flag: --rest-addr (did you mean --rest-address?)"},
		{[]string{"version", "--short"}, "", "Try proxy-controlplane version --help."},
		{[]string{"serve"}, "", `unknown command "serve"`},
		{[]string{"versio", "--short"}, "", `unknown command "versio" (did you mean "version"?)`},
		{[]string{"versio", "--help"}, "", `unknown command "versio" (did you mean "version"?)`},
		{[]string{"help", "NOSUCH"}, "", "unknown command \"NOSUCH\"\nTry proxy-controlplane --help."},
		{[]string{"--rest-address", "0.0.0.0:7400"}, "", "--insecure"},
		{[]string{"--rest-address", ":7400"}, "", "no authentication yet"},
		{[]string{"--grpc-address", "10.0.0.5:7401"}, "", "--grpc-address"},
		{[]string{"--grpc-address", "example.test:7401"}, "", "not a loopback address"},
		{[]string{"--rest-address", "127.0.0.1"}, "", "expected HOST:PORT"},
		{[]string{"--rest-address", "127.0.0.1:70000"}, "", "expected a port"},
		{[]string{"--seal-key-file", file("short")}, "", "expected 64 hexadecimal digits"},
		{[]string{"--etcd-endpoints", "http://127.0.0.1:1", "--data-dir", dir}, "", "openssl rand -hex 32"},
		{[]string{"--data-dir", file("no directory")}, "", "wrong use: --data-dir: seal key: open "},
		{[]string{"--etcd-endpoints", "10.0.0.1:2379"}, "", "expected a URL"},
		{[]string{"--etcd-endpoints", "http://10.0.0.1"}, "", "expected a port from 1 to 65535"},
		{[]string{"--etcd-endpoints", "http://10.0.0.1:2379,https://10.0.0.2:0"}, "", `"https://10.0.0.2:0": expected a port`},
		{[]string{"--etcd-endpoints", "http://a:secret@10.0.0.1:2379"}, "", "not supported yet"},
		{[]string{"--log-level", "loud"}, "", "expected debug"},
		{[]string{"--data-dir", ""}, "", "expected a directory"},
		{[]string{"--config", filepath.Join(dir, "none")}, "", "--config"},
		{[]string{"--config", file("rest_address: 127.0.0.1:1\n")}, "", `unknown key "rest_address"`},
		{[]string{"--config", file("config: x\n")}, "", `unknown key "config"`},
		{[]string{"--config", file("help: true\n")}, "", `unknown key "help"`},
		{[]string{"--config", file("version: true\n")}, "", `unknown key "version"`},
		{[]string{"--config", file("insecure: true\ninsecure: false\n")}, "", "already set"},
		{[]string{"--config", file("rest-address: [a, b]\n")}, "", "expected one value"},
		{[]string{"--config", file("etcd-endpoints: [1]\n")}, "", "expected texts"},
		{[]string{"--config", file("insecure: maybe\n")}, "", "insecure"},
		{nil, "PROXYFLEET_INSECURE=maybe", "PROXYFLEET_INSECURE"},
		{nil, "PROXYFLEET_REST_ADDRESS=0.0.0.0:1", "--rest-address"},
	} {
		var stderr bytes.Buffer
		getenv := func(name string) (string, bool) {
			key, value, _ := strings.Cut(c.env, "=")
			return value, key == name
		}
		code := run(context.Background(), c.args, world{getenv: getenv, stdout: io.Discard, stderr: &stderr})
		if code != exitUsage || !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), "secret") {
			t.Errorf("%v %s: exit status %d, want something about %q:\n%s", c.args, c.env, code, c.says, &stderr)
		}
	}
}

func TestAFlagWinsOverAVariableOverTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c.yaml")
	text := "data-dir: from-file\nrest-address: 127.0.0.1:1\ngrpc-address: 127.0.0.1:1\netcd-endpoints: [http://a:1, http://b:2]\ninsecure: true\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"PROXYFLEET_REST_ADDRESS": "127.0.0.1:2", "PROXYFLEET_GRPC_ADDRESS": "127.0.0.1:2", "PROXYFLEET_CONFIG": "/nowhere"}
	var o options
	f := o.flags()
	if err := f.Parse([]string{"--config", name, "--grpc-address", "127.0.0.1:3"}); err != nil {
		t.Fatal(err)
	}
	if err := settings.Fill(f, func(name string) (string, bool) { v, ok := env[name]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(o.dataDir, o.restAddress, o.grpcAddress, o.etcdEndpoints, o.insecure)
	if want := fmt.Sprint("from-file", "127.0.0.1:2", "127.0.0.1:3", []string{"http://a:1", "http://b:2"}, true); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestHelpAndVersionAreForPeople(t *testing.T) {
	for _, c := range []struct{ arg, says string }{
		{"--help", "--etcd-endpoints URL,URL"},
		{"--help", "Examples:"},
		{"--help", "PROXYFLEET_DATA_DIR"},
		{"version", "proxy-controlplane dev (commit"},
		{"--version", "proxy-controlplane dev (commit"},
		{"-v", "proxy-controlplane dev (commit"},
	} {
		var stdout bytes.Buffer
		if code := run(context.Background(), []string{c.arg}, world{getenv: noEnv, stdout: &stdout, stderr: io.Discard}); code != exitDone {
			t.Errorf("%s: exit status %d", c.arg, code)
		}
		if !strings.Contains(stdout.String(), c.says) {
			t.Errorf("%s does not say %q:\n%s", c.arg, c.says, &stdout)
		}
	}
}
