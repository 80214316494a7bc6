//go:build linux

package evloop

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestFewHTTP2ConnectionsKeepAllLoopsBusy sends the same on each of 8 connections
// to a node of 4 loops, which come one after another or at once: the busiest loop
// has no more than one and a half times the mean of the work. The kernel alone
// gives one of 4 loops half of 8 connections, or more, about every third time.
func TestFewHTTP2ConnectionsKeepAllLoopsBusy(t *testing.T) {
	const loops, connections, streams, requests = 4, 8, 32, 2
	n := startNode(t, loops)
	n.apply(nil, &table.Route{
		Name: "all", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond,
		Respond: &table.Respond{Status: 200, Body: []byte("hello")},
	})
	worst := 0.0
	for round := range 8 {
		var before [loops]int64
		for i := range before {
			before[i] = n.records.byLoop[i].Load()
		}
		clients := make([]http.RoundTripper, connections)
		var all sync.WaitGroup
		for i := range clients {
			clients[i] = n.h2()
			if round%2 == 0 {
				n.must(clients[i])
			}
		}
		for _, c := range clients {
			for range streams {
				all.Go(func() {
					for range requests {
						n.must(c)
					}
				})
			}
		}
		all.Wait()
		sum, most := int64(0), int64(0)
		for i := range before {
			work := n.records.byLoop[i].Load() - before[i]
			sum += work
			most = max(most, work)
		}
		ratio := float64(most) * loops / float64(sum)
		worst = max(worst, ratio)
		if ratio > 1.5 {
			t.Errorf("round %d: the busiest loop has %.2f times the mean of %d requests", round, ratio, sum)
		}
		for _, c := range clients {
			c.(interface{ CloseIdleConnections() }).CloseIdleConnections()
		}
		eventually(t, "no connections", func() bool { return clientsOpen(n) == 0 })
	}
	t.Logf("worst: %.2f", worst)
}

// must asks for something and expects an answer.
func (n *node) must(c http.RoundTripper) {
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s/", n.address), nil)
	if err != nil {
		n.t.Error(err)
		return
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		n.t.Error(err)
		return
	}
	resp.Body.Close()
}
