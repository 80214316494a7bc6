//go:build linux

package agent

import (
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

// TestDatagramsOfStrangersTakeAPartOfAProcessor: an agent may have a real-time priority, and
// anybody can send it what is not of its fleet.
func TestDatagramsOfStrangersTakeAPartOfAProcessor(t *testing.T) {
	const look = 2 * time.Second
	p := newPlace(t)
	s := New(Config{
		Start: p.start("1"), Engine: newEngine("1"), Command: agentProcess(io.Discard),
		Pulse: func() (bool, bool) { return true, true }, Logger: slog.New(slog.DiscardHandler),
	})
	s.SetList(1, []string{"1"})
	s.SetVIPs(p.vips())
	defer lifecycletest.Run(t, s.Run)()
	holds := func() bool { v := s.Statuses(); return len(v) == 1 && v[0].GetHolds() }
	eventually(t, "it to hold", holds)
	pid := s.State().PID

	var attackers sync.WaitGroup
	defer attackers.Wait()
	flood, stop := context.WithCancel(context.Background())
	defer stop()
	sent := make(chan int, 1)
	attackers.Go(func() {
		c, err := net.Dial("udp", p.gossip("1"))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		n := 0
		for b := make([]byte, 100); flood.Err() == nil; n++ {
			_, _ = c.Write(b)
		}
		sent <- n
	})
	before := processorTime(t, pid)
	begun := time.Now()
	time.Sleep(look) // what it uses in a while is what is asked
	took := time.Since(begun)
	used := processorTime(t, pid) - before
	stop()
	t.Logf("%s of %s, for %d datagrams", used, took, <-sent)
	if used > took/2 {
		t.Errorf("it used %s of %s", used, took)
	}
	if !holds() || s.State().Restarts > 0 {
		t.Errorf("it does not hold any more: %v", s.Statuses())
	}
}
