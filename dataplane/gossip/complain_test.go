package gossip

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// TestWhatIsWrongWithAMemberIsToldNowAndThen: memberlist tells of it as often as members say it,
// of a name that two nodes have many times a second.
func TestWhatIsWrongWithAMemberIsToldNowAndThen(t *testing.T) {
	var log waittest.Log
	g, err := New(Config{NodeID: "a", Address: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	d := delegate{g}
	node := func(name string) *memberlist.Node {
		return &memberlist.Node{Name: name, Addr: net.IPv4(127, 0, 0, 1), Port: 7946, Meta: []byte{metaVersion + 1}}
	}
	for range 100 {
		for _, name := range []string{"b", "c"} {
			d.NotifyConflict(node(name), node(name))
			d.NotifyUpdate(node(name + "'"))
		}
	}
	for _, name := range []string{"b", "c", "b'", "c'"} {
		if n := strings.Count(log.String(), "member="+name+" "); n != 1 {
			t.Errorf("%d lines of %s:\n%s", n, name, log.String())
		}
	}
	now := time.Now()
	if g.mayComplain("b", now.Add(complainEach/2)) || !g.mayComplain("b", now.Add(complainEach+time.Second)) {
		t.Error("it is told again too soon, or never")
	}
	for i := range 2 * maxKnown {
		if g.mayComplain(fmt.Sprint(i), now); len(g.complained) > maxKnown {
			t.Fatal("those that were told of are not bounded")
		}
	}
}
