//go:build linux

package evloop

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
	"golang.org/x/sys/unix"
)

// inherited are copies of an engine's sockets, as another process would get them.
func (n *node) inherited() map[netip.AddrPort][]int {
	n.t.Helper()
	out := map[netip.AddrPort][]int{}
	err := n.engine.EachSocket(func(address netip.AddrPort, fds []int) error {
		for _, fd := range fds {
			copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return err
			}
			out[address] = append(out[address], copied)
		}
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// follow runs an engine that inherits from n, on the same port.
func (n *node) follow(t *testing.T, loops int, inherit map[netip.AddrPort][]int) *node {
	t.Helper()
	next := &node{t: t, records: &records{}, address: n.address, port: n.port}
	e, err := New(Config{
		Loops: loops, NodeAddress: netip.MustParseAddr("127.0.0.1"), DrainTimeout: 5 * time.Second, Inherit: inherit,
		Stats: stats.New(loops, stats.Limits{}), NewSink: func(int) Sink { return next.records },
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	next.engine = e
	lifecycletest.Run(t, e.Run)
	return next
}

func respond(body string) *table.Route {
	return &table.Route{
		Name: "all", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond,
		Respond: &table.Respond{Status: 200, Body: []byte(body)},
	}
}

// TestEveryInheritedQueueIsServed connects clients before, during and after the
// hand-over; none is refused or reset, whatever the numbers of loops. They ask as
// soon as they are connected: an engine that leaves waits a second for silent ones.
func TestEveryInheritedQueueIsServed(t *testing.T) {
	const clients = 60
	for _, c := range []struct{ old, next int }{{1, 1}, {1, 3}, {3, 1}, {4, 3}, {2, 4}} {
		t.Run(fmt.Sprintf("%d loops, then %d", c.old, c.next), func(t *testing.T) {
			old := startNode(t, c.old)
			old.apply(nil, respond("old"))
			next := old.follow(t, c.next, old.inherited())
			var conns []net.Conn
			connect := func() {
				for range clients {
					conn, err := net.Dial("tcp", old.address)
					if err != nil {
						t.Fatal(err)
					}
					conns = append(conns, conn)
					_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				}
			}
			connect()
			next.apply(nil, respond("new"))
			connect()
			if unclaimed := next.engine.CloseUnclaimed(); len(unclaimed) > 0 {
				t.Errorf("unclaimed: %v", unclaimed)
			}
			released := make(chan error, 1)
			go func() { released <- old.engine.Release(context.Background(), nil) }()
			connect()
			if err := <-released; err != nil {
				t.Fatal(err)
			}
			connect()
			for i, conn := range conns {
				_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
				answer, err := io.ReadAll(conn)
				conn.Close()
				if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
					t.Errorf("client %d: %q %v", i, answer, err)
				}
				if i >= 3*clients && !strings.HasSuffix(string(answer), "new") {
					t.Errorf("client %d came after the release: %q", i, answer)
				}
			}
			// What the old engine is told now opens nothing.
			old.apply(nil, respond("older"))
			if err := old.engine.EachSocket(func(a netip.AddrPort, _ []int) error { return fmt.Errorf("it listens at %s", a) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnAddressThatTheNextProcessLeavesEndsAsARemovedListener gives an address
// away that the new table does not have.
func TestAnAddressThatTheNextProcessLeavesEndsAsARemovedListener(t *testing.T) {
	old := startNode(t, 2)
	old.apply(nil, respond("old"))
	next := old.follow(t, 2, old.inherited())
	next.port = freePort(t)
	next.apply(nil, respond("new"))
	unclaimed := next.engine.CloseUnclaimed()
	if len(unclaimed) != 1 || unclaimed[0].String() != old.address {
		t.Fatalf("unclaimed: %v", unclaimed)
	}
	if answer := old.talk("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(answer, "old") {
		t.Errorf("before the release: %q", answer)
	}
	if err := old.engine.Release(context.Background(), unclaimed); err != nil {
		t.Fatal(err)
	}
	if c, err := net.DialTimeout("tcp", old.address, time.Second); err == nil {
		c.Close()
		t.Error("somebody still listens")
	}
}

// TestAHeldEngineChangesNothing holds it while a table comes.
func TestAHeldEngineChangesNothing(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, respond("one"))
	if err := n.engine.Suspend(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.engine.Apply(ctx, &table.Table{}); err == nil {
		t.Error("applied while held")
	}
	if err := n.engine.SetDrained(ctx, true); err == nil {
		t.Error("drained while held")
	}
	n.engine.Resume()
	n.apply(nil, respond("two"))
	if answer := n.talk("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(answer, "two") {
		t.Errorf("%q", answer)
	}
}
