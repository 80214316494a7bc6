package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// withoutNames has no name resolved until the test's end: the resolver's server says
// nothing.
func withoutNames(t *testing.T) {
	t.Helper()
	silent, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	before := net.DefaultResolver
	asking, end := context.WithCancel(context.Background())
	t.Cleanup(func() {
		end() // what still waits for an answer
		net.DefaultResolver = before
		silent.Close()
	})
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		if err := asking.Err(); err != nil {
			return nil, err
		}
		conn, err := new(net.Dialer).DialContext(ctx, "udp", silent.LocalAddr().String())
		if err == nil {
			context.AfterFunc(asking, func() { conn.Close() })
		}
		return conn, err
	}}
}

// namesOnly is a node that knows the others by nine names.
func namesOnly() Config {
	c := Config{NodeID: "a", Address: ":7946", Insecure: true}
	for i := range 9 {
		c.Join = append(c.Join, fmt.Sprintf("node-%d.example:7946", i))
	}
	return c
}

func TestANodeBeginsWhereNoNameIsResolved(t *testing.T) {
	withoutNames(t)
	g, err := New(namesOnly())
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	ip, err := g.advertised()
	// An agent that says nothing for 5 s is killed.
	if took := time.Since(begin); err != nil || ip == nil || took > 4*time.Second {
		t.Errorf("%s, %v, after %s", ip, err, took)
	}
}

// locked is a buffer for a logger of several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestNamesThatAreNotResolvedAreToldAndKeepNobodyWaiting(t *testing.T) {
	withoutNames(t)
	c := namesOnly()
	var log locked
	c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	const known = "10.1.1.1:7946"
	g.known["b"] = place{known, time.Now()}
	begin := time.Now()
	tried := g.attempts(t.Context())
	if took := time.Since(begin); !slices.Contains(tried, known) || took > 2*tcpTimeout {
		t.Errorf("after %s %v are tried", took, tried)
	}
	for _, name := range c.Join {
		if !strings.Contains(log.b.String(), "address="+name) {
			t.Errorf("nobody is told that %s leads to nobody:\n%s", name, log.b.String())
			break
		}
	}
}
