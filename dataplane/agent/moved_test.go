//go:build linux

package agent

import (
	"errors"
	"log/slog"
	"math"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/gossip"
	"github.com/proxyfleet/proxyfleet/dataplane/vip"
)

// TestAnAgentEndsWithItsGossip: the next one begins anew, by another address.
func TestAnAgentEndsWithItsGossip(t *testing.T) {
	g, err := gossip.New(gossip.Config{NodeID: "a", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{
		log: slog.New(slog.DiscardHandler), clock: boottime, gossip: g, out: newOutbox(), env: &env{clock: boottime},
		failed: make(chan error, 1), serveAt: math.MaxInt64,
	}
	if l.grants, err = vip.New(vip.Config{Self: "a", Boot: g.Boot(), Now: l.clock()}); err != nil {
		t.Fatal(err)
	}
	l.failed <- gossip.ErrMoved
	if err := l.run(t.Context()); !errors.Is(err, gossip.ErrMoved) {
		t.Error(err)
	}
}
