package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"path/filepath"
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
	s := &Socket{
		path: path, listener: &shortListener{Listener: l},
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
