package gossip

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/member"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// quick is for tests: everything ten times as often.
var quick = Timing{
	Probe: 100 * time.Millisecond, ProbeTimeout: 50 * time.Millisecond, Gossip: 20 * time.Millisecond,
	PushPull: 500 * time.Millisecond, Rejoin: 300 * time.Millisecond, Reclaim: 300 * time.Millisecond,
}

// soon bounds what should take a fraction of it.
const soon = 15 * time.Second

func TestMembersSeeEachOtherAndWhatTheySay(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := trio(f, func(c *Config) { c.Labels = map[string]string{"zone": c.NodeID, "role": "edge"} })

	m, _ := a.View().Get("b")
	if m.Boot != b.Boot() || m.Address != b.LocalAddress() || !m.Flags.Has(member.Eligible|member.Healthy) {
		t.Errorf("a sees b as %+v", m)
	}
	if zone, _ := m.Label("zone"); zone != "b" {
		t.Errorf("b's zone is %q", zone)
	}

	b.SetSelf(Self{Flags: member.Eligible, ListRevision: 7, Holdings: []member.Holding{{VIP: "y", Term: 2}, {VIP: "x", Term: 9, SinceUnixMS: 1}}})
	if m, _ := b.View().Get("b"); m.ListRevision != 7 {
		t.Errorf("b sees itself as %+v", m)
	}
	took := f.eventually("b's news arrive", func() bool {
		for _, n := range []*node{a, c} {
			m, _ := n.View().Get("b")
			if h, ok := m.Holding("x"); m.Flags != member.Eligible || m.ListRevision != 7 || !ok || h.Term != 9 {
				return false
			}
		}
		return true
	})
	t.Logf("news took %v", took)
	m, _ = c.View().Get("b")
	if h, _ := m.Holding("x"); h.SinceUnixMS != 1 {
		t.Errorf("c sees b hold %+v", h)
	}
}

func TestViewsGivesTheLatest(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, _, _ := trio(f, nil)
	for i := range 10 {
		a.SetSelf(Self{ListRevision: uint64(i)})
	}
	v := <-a.Views()
	if m, _ := v.Get("a"); m.ListRevision != 9 {
		t.Errorf("the View in the channel is of revision %d", m.ListRevision)
	}
}

func TestMessagesArriveAndAreTheReceiversOwn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := trio(f, func(c *Config) { c.Keys = mustKeys(t, key(1)) })
	big := strings.Repeat("x", maxMessage)
	f.eventually("messages", func() bool { // any may be lost
		for _, n := range []*node{b, c} {
			for _, m := range []string{"to " + n.id, big} {
				if err := a.Send(n.id, []byte(m)); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, n := range []*node{b, c} {
			n.mu.Lock()
			got := slices.Contains(n.received, "to "+n.id) && slices.Contains(n.received, big)
			n.mu.Unlock()
			if !got {
				return false
			}
		}
		return true
	})
	if err := a.Send("nobody", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("to nobody: %v", err)
	}
	if err := a.Send("b", make([]byte, maxMessage+1)); err == nil {
		t.Error("a message that is too long was sent")
	}
	b.stop()
	if err := b.Send("a", nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAMemberThatLeavesIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := trio(f, nil)
	c.stop()
	f.see("a b", a, b)
}

// A member whose machine is gone says nothing.
func TestADeadMemberDisappears(t *testing.T) {
	for name, timing := range map[string]Timing{"in tests": quick, "by default": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			a, b, c := trio(f, func(c *Config) { c.Timing = timing })
			f.cut(true, []*node{c}, []*node{a, b})
			took := f.see("a b", a, b)
			t.Logf("gone after %v", took)
			if took > 8*time.Second {
				t.Error("that is too late")
			}
		})
	}
}

func TestADeadMemberIsSentToAllTheSame(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := trio(f, nil)
	f.cut(true, []*node{c}, []*node{a, b})
	f.see("a b", a, b)
	// Gossip may be wrong.
	f.cut(false, []*node{c}, []*node{a, b})
	f.eventually("a message to a member declared dead", func() bool {
		if err := a.Send("c", []byte("still there?")); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Contains(c.received, "still there?")
	})
	f.see("a b c", a, b, c)
}

func TestHalvesFindEachOtherAgain(t *testing.T) {
	for _, looks := range []bool{true, false} {
		t.Run(fmt.Sprint("looking is ", looks), func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			var nodes []*node
			for _, id := range []string{"a", "b", "c", "d"} {
				c := f.config(id, nodes...)
				if !looks {
					c.Timing.Rejoin = time.Hour
				}
				c.deadGossip = 50 * time.Millisecond // nothing is said to the dead
				nodes = append(nodes, f.start(c))
			}
			f.see("a b c d", nodes...)
			f.busy("a", 25) // looks for the first time, and then each hour
			f.cut(true, nodes[:2], nodes[2:])
			f.see("a b", nodes[:2]...)
			f.see("c d", nodes[2:]...)
			f.busy("a", 10)
			f.cut(false, nodes[:2], nodes[2:])
			if looks {
				t.Logf("whole again after %v", f.see("a b c d", nodes...))
				return
			}
			// memberlist alone: this is what looking is for.
			f.busy("a", 25)
			f.see("a b", nodes[:2]...)
			f.see("c d", nodes[2:]...)
		})
	}
}

func TestAStrangerIsNotLetIn(t *testing.T) {
	cases := map[string]func(*Config){
		"no key":        func(c *Config) { c.Keys = Keys{} },
		"another key":   func(c *Config) { c.Keys = mustKeys(t, key(2)) },
		"another fleet": func(c *Config) { c.Fleet = "other" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			a, b, c := trio(f, func(c *Config) { c.Keys = mustKeys(t, key(1)) })
			config := f.config("stranger", a, b)
			config.Keys = mustKeys(t, key(1))
			change(&config)
			stranger := f.start(config)
			f.busy("stranger", 6)
			f.see("a b c", a, b, c) // a busy machine may keep one of them from answering for a while
			if ids(stranger.View()) != "stranger" {
				t.Errorf("the stranger sees %s", ids(stranger.View()))
			}
		})
	}
}

func TestAKeyIsReplacedInThreeSteps(t *testing.T) {
	t.Parallel()
	// Members of every step understand those of the step before.
	for _, step := range [][2]string{
		{key(1), key(1) + key(2)},
		{key(1) + key(2), key(2) + key(1)},
		{key(2) + key(1), key(2)},
	} {
		f := newFleet(t)
		c := f.config("a")
		c.Keys = mustKeys(t, step[0])
		a := f.start(c)
		c = f.config("b", a)
		c.Keys = mustKeys(t, step[1])
		b := f.start(c)
		f.see("a b", a, b)
	}
}

func TestANodeComesBackUnderItsName(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	a, b, c := trio(f, nil)

	// After a restart that was announced, from another port.
	c.stop()
	f.see("a b", a, b)
	again := f.start(f.config("c", a))
	f.see("a b c", a, b, again)
	if m, _ := a.View().Get("c"); m.Boot != again.Boot() || again.Boot() == c.Boot() {
		t.Errorf("a sees boot %d, want %d", m.Boot, again.Boot())
	}

	// After a crash.
	f.cut(true, []*node{again}, []*node{a, b})
	again.stop()
	f.see("a b", a, b)
	f.cut(false, []*node{again}, []*node{a, b})
	third := f.start(f.config("c", a))
	f.see("a b c", a, b, third)
	f.eventually("the third boot is seen", func() bool {
		m, _ := b.View().Get("c")
		return m.Boot == third.Boot()
	})
}

func TestASecondNodeOfANameIsNotLetIn(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	var log waittest.Log
	a, b, c := trio(f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	config := f.config("c", a, b)
	config.Address = "127.0.77.99:0"
	second := f.start(config)
	f.mu.Lock()
	f.nodes["second c"], f.nodes["c"] = second, c
	f.mu.Unlock()
	f.busy("c", 20)
	for _, n := range []*node{a, b} {
		var m member.Member
		f.eventually(n.id+" sees a c", func() (is bool) { m, is = n.View().Get("c"); return is }) // who is busy may be missed for a while
		if m.Boot != c.Boot() || m.Address != c.LocalAddress() {
			t.Errorf("%s sees the second c: %+v", n.id, m)
		}
	}
	f.eventually("the conflict is logged", func() bool { return strings.Contains(log.String(), "two nodes with one id") })
}

func TestWhatCannotBeRunIsRefused(t *testing.T) {
	cases := map[string]struct {
		change func(*Config)
		want   string
	}{
		"no id":             {func(c *Config) { c.NodeID = "" }, "node id"},
		"no port":           {func(c *Config) { c.Address = "127.0.0.1" }, "expected ip:port"},
		"a bad port":        {func(c *Config) { c.Address = "127.0.0.1:99999" }, "expected 0 to 65535"},
		"a name":            {func(c *Config) { c.Address = "localhost:1" }, "is no ip"},
		"beyond loopback":   {func(c *Config) { c.Address = "192.0.2.1:1" }, "needs a key"},
		"all addresses":     {func(c *Config) { c.Address = ":7946" }, "needs a key"},
		"a bad advertise":   {func(c *Config) { c.Advertise = "here" }, "is no ip"},
		"a bad peer":        {func(c *Config) { c.Join = []string{"there"} }, "expected host:port"},
		"a peer's port 0":   {func(c *Config) { c.Join = []string{"10.0.0.11:0"} }, "a port from 1 to 65535"},
		"a large port":      {func(c *Config) { c.Join = []string{"10.0.0.11:70000"} }, "a port from 1 to 65535"},
		"a named port":      {func(c *Config) { c.Join = []string{"10.0.0.11:gossip"} }, "a port from 1 to 65535"},
		"an empty port":     {func(c *Config) { c.Join = []string{"10.0.0.11:"} }, "a port from 1 to 65535"},
		"no host":           {func(c *Config) { c.Join = []string{":7946"} }, "expected host:port"},
		"a long fleet name": {func(c *Config) { c.Fleet = strings.Repeat("f", 250) }, "too long"},
		"too many labels":   {func(c *Config) { c.Labels = map[string]string{"a": strings.Repeat("x", 400)} }, "labels take 404 bytes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			config := Config{NodeID: "a", Address: "127.0.0.1:0"}
			c.change(&config)
			if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
	if _, err := New(Config{NodeID: "a", Address: ":7946"}); !errors.Is(err, ErrNoKey) {
		t.Errorf("error is %v, want ErrNoKey", err)
	}
	for _, c := range []Config{
		{NodeID: "a", Address: ":7946", Insecure: true},
		{NodeID: "a", Address: "[::]:7946", Keys: mustKeys(t, key(1))},
		{NodeID: "a", Address: "[::1]:0"},
	} {
		if _, err := New(c); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAPortInUseIsAnErrorOfRun(t *testing.T) {
	f := newFleet(t)
	a := f.start(f.config("a"))
	c := f.config("b")
	c.Address = a.LocalAddress().String()
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listen on "+c.Address) {
		t.Errorf("error is %v", err)
	}
	if err := a.Run(t.Context()); err == nil {
		t.Error("it ran twice")
	}
}
