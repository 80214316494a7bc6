package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// shortListener has no descriptor for the first client that it is asked for.
type shortListener struct {
	net.Listener
	refused bool
}

func (l *shortListener) Accept() (net.Conn, error) {
	if !l.refused {
		l.refused = true
		return nil, &net.OpError{Op: "accept", Net: "unix", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestANodeWithoutADescriptorForAUserGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := &control{
		path: path, listener: &shortListener{Listener: l},
		logger: slog.New(slog.DiscardHandler), clients: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("{\"ask\": \"the time\"}\n")); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	var a upgradeAnswer
	go func() { answered <- json.NewDecoder(conn).Decode(&a) }()
	select {
	case err := <-answered:
		if err != nil || a.Error == "" {
			t.Errorf("answer %+v, %v", a, err)
		}
	case err := <-ended:
		t.Fatalf("the node ended: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

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
	left, err := filepath.Glob(filepath.Join(dir, "n", controlName+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
