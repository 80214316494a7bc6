package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestANodeThatCannotStartLeavesNoSocketBehind(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir, err := os.MkdirTemp("", "node") // a short path, as sockets need
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // which a node sets
	var said bytes.Buffer
	status := run(t.Context(), []string{
		"--node-id", "n", "--state-dir", dir, "--control-plane", "127.0.0.1:1", "--gossip-address", "off",
		"--access-log", "off", "--loops", "1", "--admin-address", taken.Addr().String(),
	}, world{getenv: func(string) (string, bool) { return "", false }, stdout: io.Discard, stderr: &said})
	if status != exitFailed || !strings.Contains(said.String(), "admin address") {
		t.Fatalf("status %d: %s", status, said.String())
	}
	left, err := filepath.Glob(filepath.Join(dir, "n", "control.sock*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
