package control

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
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

// TestASocketThatWasDeletedIsMadeAgain: the state directory is a cache, and who cleans it up
// must not lose the way to upgrade the node.
func TestASocketThatWasDeletedIsMadeAgain(t *testing.T) {
	state := t.TempDir()
	dir := filepath.Join(state, "cache", "node")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := Open(Config{Dir: dir, Logger: slog.New(slog.DiscardHandler), Upgrade: func(context.Context, Request, func(string, ...any)) (int, error) {
		return 7, nil
	}})
	s.lookEvery = 5 * time.Millisecond
	s.Claim()
	stop := lifecycletest.Run(t, s.Run)
	answers := func() error {
		a, err := Upgrade(t.Context(), dir, Request{TimeoutMillis: 1000}, func(string) {})
		if err == nil && a.PID != 7 {
			t.Errorf("answer %+v", a)
		}
		return err
	}
	again := func(what string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; {
			err := answers()
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err := answers(); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{filepath.Join(dir, socketName), dir, filepath.Join(state, "cache")} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		again(gone)
		info, err := os.Stat(filepath.Join(dir, socketName))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
	stop()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", left, err)
	}
}

// TestASocketOfTheProcessAfterThisOneIsLeftAlone, and is not made again by a process that
// was replaced.
func TestASocketOfTheProcessAfterThisOneIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := Open(Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	defer s.listening().Close()
	path := filepath.Join(dir, socketName)
	s.restore(t.Context())
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket is there that was not claimed: %v", err)
	}
	s.Claim()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.restore(t.Context())
	s.Remove()
	if text, err := os.ReadFile(path); err != nil || string(text) != "another's" {
		t.Errorf("%q, %v", text, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.restore(t.Context()) // it ends
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket is there that was removed: %v", err)
	}
}

func TestANodeWithoutADescriptorForAUserGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &Socket{
		path: path, listener: &shortListener{Listener: l}, lookEvery: lookEvery,
		logger: slog.New(slog.DiscardHandler), clients: make(chan struct{}, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("{\"ask\": \"the time\"}\n")); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	var a Answer
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
