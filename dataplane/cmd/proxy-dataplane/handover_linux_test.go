package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"path/filepath"
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
	conn, file, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	defer file.Close()
	fd, err := unix.Dup(int(file.Fd()))
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	peer, err := handover.Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()

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
