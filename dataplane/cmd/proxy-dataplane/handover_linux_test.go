package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/accesslog"
	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
	"github.com/proxyfleet/proxyfleet/dataplane/feed"
	"github.com/proxyfleet/proxyfleet/dataplane/handover"
	"github.com/proxyfleet/proxyfleet/dataplane/lastgood"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

// givingNode is a node that can share its sockets. Its parts run until the test ends.
func givingNode(t *testing.T) *node {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	log, err := accesslog.New(accesslog.Options{Path: accesslog.Off})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{logger: logger, drainer: &drainer{}}
	if n.engine, err = evloop.New(evloop.Config{
		Loops: 1, Stats: stats.New(1, stats.Limits{}), NewSink: func(int) evloop.Sink { return log.Sink() }, Logger: logger,
	}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	key, err := seal.CreateFile(filepath.Join(dir, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	if n.lastGood, err = lastgood.Open(dir, key, logger); err != nil {
		t.Fatal(err)
	}
	if n.adminListener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.adminListener.Close() })
	for _, run := range []func(context.Context) error{n.engine.Run, n.lastGood.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	return n
}

// told is what a node says to its successor.
func told(t *testing.T, peer *handover.Conn) (state handoverState) {
	t.Helper()
	for {
		m, err := peer.ReceiveAny()
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range m.FDs {
			unix.Close(fd)
		}
		if m.Kind == handover.State {
			if err := json.Unmarshal([]byte(m.Text), &state); err != nil {
				t.Fatal(err)
			}
			return state
		}
	}
}

// An upgrade that waits for a change goes on as soon as the engine has made it, which
// others note a moment later.
func TestASuccessorIsToldWhatTheEngineServesAlsoWhereItIsNotNotedYet(t *testing.T) {
	n := givingNode(t)
	apply := func(v table.Version) (noted func()) {
		t.Helper()
		if err := n.engine.Apply(t.Context(), &table.Table{Version: v}); err != nil {
			t.Fatal(err)
		}
		return func() { n.applied(feed.InForce{Version: v}) }
	}
	apply(table.Version{Epoch: 1, Revision: 1})()
	noted := apply(table.Version{Epoch: 1, Revision: 2})
	if err := n.engine.SetDrained(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	conn, peer := conversation(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := n.engine.Suspend(ctx); err != nil {
		t.Fatal(err)
	}
	defer n.engine.Resume()
	gave := make(chan error, 1)
	go func() { gave <- n.giveSockets(ctx, conn) }()
	time.AfterFunc(50*time.Millisecond, noted)
	if err := <-gave; err != nil {
		t.Fatal(err)
	}
	state := told(t, peer)
	if state.Running == nil || state.Running.Revision != 2 || !state.Drained {
		t.Errorf("told %+v, running %+v: expected revision 2, drained", state, state.Running)
	}
}

// conversation is the two ends of one.
func conversation(t *testing.T) (old, next *handover.Conn) {
	t.Helper()
	old, file, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err == nil {
		next, err = handover.Open(fd)
	}
	if err != nil {
		old.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		old.Close()
		next.Close()
	})
	return old, next
}

// A node with hundreds of listeners whose --listen-address was changed has no use for any
// of the addresses that it inherits, and says so after it was told to take connections:
// were that to fail, those that it took would be lost.
func TestAnyNumberOfAddressesCanBeLeft(t *testing.T) {
	for _, number := range []int{0, 1, 406, 407, 2000} {
		old, next := conversation(t)
		want := make([]netip.AddrPort, number)
		for i := range want {
			want[i] = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.200"), uint16(10000+i))
		}
		said := make(chan error, 1)
		go func() {
			_, err := next.Receive(handover.Go)
			if err == nil {
				err = (&takeover{conn: next}).sayReady(want)
			}
			said <- err
		}()
		got, err := (&successor{conn: old}).letGo(func() bool { return true })
		if failed := <-said; failed != nil || err != nil || !slices.Equal(got, want) {
			t.Errorf("%d addresses: said: %v; heard %d of them: %v", number, failed, len(got), err)
		}
	}
}

// Both processes of an upgrade are in one cgroup. The kernel would kill the larger one
// when that is full, and it is the one that serves.
func TestANodeWhoseSuccessorNeedsTooMuchMemoryGoesOn(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip("the new process of this test is written in Perl: ", err)
	}
	n := givingNode(t)
	own, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(own), &size, &resident); err != nil {
		t.Fatal(err)
	}
	// With room for 64 MiB more. The new process wants 256.
	n.options.group = (resident*uint64(os.Getpagesize()) + 64<<20) * 100 / 85
	n.options.memory = n.options.group
	n.world.stderr = t.Output()
	hungry := filepath.Join(t.TempDir(), "hungry")
	if err := os.WriteFile(hungry, fmt.Appendf(nil, "#!%s\n$x = 'x' x (256 << 20); sleep 60;\n", perl), 0o700); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	ask := upgradeRequest{Binary: hungry, TimeoutMillis: time.Minute.Milliseconds()}
	_, err = n.handOver(t.Context(), ask, func(string, ...any) {})
	if err == nil || !strings.Contains(err.Error(), "memory") || time.Since(begin) > 50*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}
