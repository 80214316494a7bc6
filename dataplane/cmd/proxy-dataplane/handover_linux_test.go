package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/accesslog"
	"github.com/proxyfleet/proxyfleet/dataplane/evloop"
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
	n := &node{logger: logger}
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
	if n.lastGood, err = lastgood.Open(dir, key, nil, logger); err != nil {
		t.Fatal(err)
	}
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

// An upgrade that waits for a change goes on as soon as the engine has made it, which
// others note a moment later.
func TestASuccessorIsToldWhatTheEngineServesAlsoWhereItIsNotNotedYet(t *testing.T) {
	n := givingNode(t)
	apply := func(v table.Version) (noted func()) {
		t.Helper()
		if err := n.engine.Apply(t.Context(), &table.Table{Version: v}); err != nil {
			t.Fatal(err)
		}
		return func() { n.applied(table.Configuration{Version: v}) }
	}
	apply(table.Version{Epoch: 1, Revision: 1})()
	noted := apply(table.Version{Epoch: 1, Revision: 2})
	if err := n.engine.SetDrained(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	time.AfterFunc(50*time.Millisecond, noted)
	estate, err := n.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Resume()
	if served := estate.Served; served.Running == nil || served.Running.Revision != 2 || !served.Drained {
		t.Errorf("told %+v, running %+v: expected revision 2, drained", served, served.Running)
	}
}
