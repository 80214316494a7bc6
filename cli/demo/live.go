package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

const (
	liveInterval = time.Second
	// quietInterval is how often a line is printed, outside of a terminal, while
	// only the traffic changes.
	quietInterval = 10 * time.Second
)

// live shows the fleet until the context ends. A process that ends is said and
// missed, but the rest goes on: nodes serve without their control plane. When
// no process is left, it gives up. A node that was upgraded goes on as another
// process.
func (d *demo) live(ctx context.Context) error {
	died := make(chan *child)
	ended := make(chan struct{})
	defer close(ended)
	for _, c := range d.children {
		go func() {
			<-c.done
			select {
			case died <- c:
			case <-ended:
			}
		}()
	}
	tick := time.NewTicker(liveInterval)
	defer tick.Stop()
	var meter rateMeter
	var shown string
	var printed time.Time
	left := len(d.children)
	pids := make([]int, len(d.children))
	for i, c := range d.children {
		pids[i] = c.cmd.Process.Pid
	}
	for {
		d.sayUpgraded(pids)
		mark, text := d.statusLine(ctx, &meter)
		switch {
		case ctx.Err() != nil:
		case d.Live:
			d.printf("\r\x1b[K%s", text)
		case mark != shown || (meter.rate > 0 && time.Since(printed) >= quietInterval):
			d.printf("%s\n", text)
			printed = time.Now()
		}
		shown = mark
		select {
		case <-tick.C:
		case c := <-died:
			d.freshLine()
			d.printf("%s\n", c.died())
			if left--; left == 0 {
				return errors.New("demo: no process is left")
			}
		case <-ctx.Done():
			d.freshLine()
			d.printf("taking everything down\n")
			return nil
		}
	}
}

// sayUpgraded says which nodes go on as other processes than those of pids.
func (d *demo) sayUpgraded(pids []int) {
	for i, c := range d.children {
		select {
		case <-c.done: // what is left of it now is no node
			continue
		default:
		}
		if pid := c.pid(); pid != pids[i] {
			pids[i] = pid
			d.freshLine()
			d.printf("%s was upgraded and goes on as process %d\n", c.Name, pid)
		}
	}
}

// freshLine leaves the status line as it is.
func (d *demo) freshLine() {
	if d.Live {
		d.printf("\n")
	}
}

// statusLine is the state of the fleet on one line, and what of it is worth a
// line of its own when it changes.
func (d *demo) statusLine(ctx context.Context, meter *rateMeter) (mark, text string) {
	ctx, cancel := context.WithTimeout(ctx, liveInterval)
	defer cancel()
	list, err := d.client.Nodes(ctx)
	if err != nil {
		return "gone", "the control plane does not answer"
	}
	meter.add(list.Items)
	synced := 0
	for _, n := range list.Items {
		if n.State == api.Synced {
			synced++
		}
	}
	mark = fmt.Sprintf("revision %d, %d of %d nodes in sync", list.Wanted.Revision, synced, len(list.Items))
	return mark, fmt.Sprintf("%s, %.0f requests/s", mark, meter.rate)
}

// rateMeter computes requests per second from what nodes report every few
// seconds: each node's rate is that between its last two reports.
type rateMeter struct {
	rate  float64
	nodes map[string]nodeRate
}

type nodeRate struct {
	requests uint64
	at       time.Time
	rate     float64
}

// add takes the nodes' latest reports in.
func (m *rateMeter) add(nodes []api.NodeStatus) {
	next := make(map[string]nodeRate, len(nodes))
	m.rate = 0
	for _, n := range nodes {
		if !n.Connected || n.LastSeen == nil {
			continue
		}
		now := nodeRate{requests: n.Requests, at: *n.LastSeen}
		if before, ok := m.nodes[n.ID]; ok {
			elapsed := now.at.Sub(before.at)
			switch {
			case elapsed < liveInterval:
				now = before // nothing new was heard, or too little to make a rate of
			case now.requests >= before.requests: // else the node was started again
				now.rate = float64(now.requests-before.requests) / elapsed.Seconds()
			}
		}
		next[n.ID] = now
		m.rate += now.rate
	}
	m.nodes = next
}
