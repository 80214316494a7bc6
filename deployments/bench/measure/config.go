package measure

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// Program is where a proxy is, or why it is not.
type Program struct {
	Path, Version string
	// Absent says why it is left out.
	Absent string
}

// Config says what is measured, and for how long.
type Config struct {
	Rounds                int
	Round, Warmup, Settle time.Duration
	// Turn is for how long a proxy is measured until it is the next one's turn: a round is
	// made of as many turns as it takes. 0: of one.
	Turn time.Duration
	// IdleFrom and IdleTo are the numbers of idle connections whose memory is
	// compared.
	IdleFrom, IdleTo int
	// MallocRequests is over how many requests allocations are counted.
	MallocRequests uint64
	ProxyCore      int
	LoadCore       int
	Programs       map[rivals.Name]Program
	// Self is this program, which is started again as backend and load.
	Self string
	// Wrk, if it has a path, makes the saturated load of HTTP/1.1 in its place.
	// H2load makes that of HTTP/2; without it, HTTP/2 is not measured.
	Wrk, H2load Program
	// Dir is for configurations and logs.
	Dir string
	// Only are the scenarios that are measured; empty: all.
	Only []string
	// Earlier is a run that this one goes on with; nil: none.
	Earlier *report.Report
	// Say is told what happens.
	Say func(string)
}

const (
	// FixedShare of the slowest proxy's peak is the fixed rate.
	FixedShare = 0.6
	// AnswerBytes is the size of every answer.
	AnswerBytes = 1024
	// port of everything that listens; addresses tell them apart.
	port    = 8080
	ownName = "the open loop's generator without a schedule"
)

func (c *Config) check() error {
	known := map[string]bool{}
	var ids []string
	for _, d := range report.Definitions() {
		known[d.ID] = true
		ids = append(ids, d.ID)
	}
	for _, id := range c.Only {
		if !known[id] {
			return fmt.Errorf("there is no scenario %q; there are %s", id, strings.Join(ids, ", "))
		}
	}
	switch {
	case c.Rounds < 1 || c.Round < 100*time.Millisecond || c.Warmup < 0 || c.Settle < 0 || c.Turn < 0:
		return fmt.Errorf("rounds %d of %v in turns of %v after %v, settling %v", c.Rounds, c.Round, c.Turn, c.Warmup, c.Settle)
	case c.IdleFrom < 1 || c.IdleTo <= c.IdleFrom || c.IdleTo > 25_000:
		return fmt.Errorf("idle connections from %d to %d: want 1 to 25000, which is what one address can open", c.IdleFrom, c.IdleTo)
	case c.ProxyCore == c.LoadCore:
		return errors.New("proxy and load need a processor each")
	case online() < 2:
		return errors.New("measuring needs two processors")
	}
	return nil
}

// turnConnections are the most that a turn has time to begin.
const turnConnections = 256

// turns is how many make a round of so many connections.
func (c *Config) turns(connections int) int {
	if c.Turn == 0 || connections > turnConnections {
		return 1
	}
	return max(int(c.Round/c.Turn), 1)
}

// network gives out loopback addresses that nobody else uses: a 127.x.y.0/24 of
// the run's own.
type network struct{ a, b, next byte }

func newNetwork(pid int) *network {
	// 127.64.0.0/10: clear of the addresses that people and other tests choose.
	return &network{a: 64 + byte(pid>>8)%64, b: byte(pid)}
}

func (n *network) address() netip.AddrPort {
	n.next++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, n.a, n.b, n.next}), port)
}

func (c *Config) saturatedBy() string {
	if c.Wrk.Path != "" {
		return string(Wrk)
	}
	return ownName
}

func (c *Config) subdir(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}
