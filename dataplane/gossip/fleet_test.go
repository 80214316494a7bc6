package gossip

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
)

// Nothing is left behind. A probe of memberlist's that is under way when it is
// shut down ends with its interval, which is longer than goleak waits by itself.
func TestMain(m *testing.M) {
	code := m.Run()
	leak := goleak.Find()
	for begin := time.Now(); leak != nil && time.Since(begin) < 5*time.Second; {
		leak = goleak.Find()
	}
	if leak != nil && code == 0 {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}

// fleet is members on loopback addresses, with a network that can be cut.
type fleet struct {
	t       *testing.T
	mu      sync.Mutex
	nodes   map[string]*node
	blocked map[[2]string]bool // from id, to address
	tried   map[string]int     // datagrams and dials by id
}

type node struct {
	*Gossip
	id   string
	stop func()

	mu       sync.Mutex
	received []string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, nodes: map[string]*node{}, blocked: map[[2]string]bool{}, tried: map[string]int{}}
	t.Cleanup(func() {
		for _, n := range f.all() {
			n.stop()
		}
	})
	return f
}

func (f *fleet) all() []*node {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*node
	for _, n := range f.nodes {
		all = append(all, n)
	}
	return all
}

// config is that of a node on a loopback address of its own that knows peers.
func (f *fleet) config(id string, peers ...*node) Config {
	c := Config{
		NodeID: id, Address: fmt.Sprintf("127.0.77.%d:0", 1+len(f.all())), Timing: quick,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Self:   Self{Flags: member.Eligible | member.Healthy},
		cut: func(address string) bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tried[id]++
			return f.blocked[[2]string{id, address}]
		},
	}
	for _, p := range peers {
		c.Join = append(c.Join, p.LocalAddress().String())
	}
	return c
}

// start runs a node until the test's end, or until its stop is called.
func (f *fleet) start(c Config) *node {
	f.t.Helper()
	n := &node{id: c.NodeID}
	if c.Receive == nil {
		c.Receive = func(b []byte) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.received = append(n.received, string(b))
		}
	}
	g, err := New(c)
	if err != nil {
		f.t.Fatal(err)
	}
	n.Gossip = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	select {
	case <-g.Ready():
	case err := <-done:
		f.t.Fatal(err)
	}
	f.mu.Lock()
	f.nodes[c.NodeID] = n
	f.mu.Unlock()
	return n
}

// cut sets whether two groups of nodes can reach each other.
func (f *fleet) cut(blocked bool, a, b []*node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range a {
		for _, y := range b {
			f.blocked[[2]string{x.id, y.LocalAddress().String()}] = blocked
			f.blocked[[2]string{y.id, x.LocalAddress().String()}] = blocked
		}
	}
}

func (f *fleet) eventually(what string, is func() bool) time.Duration {
	f.t.Helper()
	begin := time.Now()
	for !is() {
		if time.Since(begin) > soon {
			var views []string
			for _, n := range f.all() {
				views = append(views, n.id+": "+ids(n.View()))
			}
			slices.Sort(views)
			f.t.Fatalf("%s: not after %v; views are %q", what, soon, views)
		}
		<-time.After(time.Millisecond)
	}
	return time.Since(begin)
}

// busy waits until a node has said that much more.
func (f *fleet) busy(id string, times int) {
	f.t.Helper()
	tried := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.tried[id]
	}
	end := tried() + times
	f.eventually(id+" says much", func() bool { return tried() >= end })
}

func ids(v member.View) string {
	var all []string
	for m := range v.All() {
		all = append(all, m.ID)
	}
	return strings.Join(all, " ")
}

// see waits until all nodes see exactly these.
func (f *fleet) see(want string, nodes ...*node) time.Duration {
	f.t.Helper()
	return f.eventually("to see "+want, func() bool {
		return !slices.ContainsFunc(nodes, func(n *node) bool { return ids(n.View()) != want })
	})
}

func trio(f *fleet, change func(*Config)) (a, b, c *node) {
	start := func(id string, peers ...*node) *node {
		c := f.config(id, peers...)
		if change != nil {
			change(&c)
		}
		return f.start(c)
	}
	a = start("a")
	b = start("b", a)
	c = start("c", a)
	f.see("a b c", a, b, c)
	return a, b, c
}
