package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestWhoWentLastIsLookedForAmongManyThatWentLongAgo(t *testing.T) {
	const late = "10.1.1.1:7946"
	g, err := New(Config{NodeID: "a", Address: "127.0.0.1:0", Join: []string{"10.2.2.2:7946"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	g.known["late"] = place{late, now}
	for i := range 500 {
		g.known[fmt.Sprint(i)] = place{fmt.Sprintf("10.0.%d.%d:7946", i/250, i%250), now.Add(-time.Duration(i+1) * time.Minute)}
	}
	others := map[string]bool{}
	for range 20 {
		tried := g.attempts(t.Context())
		if len(tried) != joinAtOnce || !slices.Contains(tried, late) {
			t.Fatalf("tried %v", tried)
		}
		for _, a := range tried {
			others[a] = true
		}
	}
	if len(others) < 20 {
		t.Errorf("of all others, %d were tried in 20 rounds", len(others))
	}
}
