package e2e

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// dropAll is a socket filter that drops every packet.
var dropAll = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}

// deafen has a node's own listening sockets drop all that comes, until the function
// that it returns is called. The sockets of virtual IPs go on.
func deafen(t *testing.T, n *fleettest.Node) (undo func()) {
	t.Helper()
	var all []int
	for _, fd := range listeningSockets(t, n) {
		all = append(all, fd)
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(dropAll)), Filter: &dropAll[0]}); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s does not listen on %s", n.ID, n.Address)
	}
	return func() {
		t.Helper()
		for _, fd := range all {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0); err != nil {
				t.Error(err)
			}
		}
	}
}

// listeningSockets are copies of those that a node has at its own address.
func listeningSockets(t *testing.T, n *fleettest.Node) (all []int) {
	t.Helper()
	process, err := unix.PidfdOpen(n.PID(), 0)
	if err != nil {
		t.Skip("the node's sockets are out of reach: ", err)
	}
	defer unix.Close(process)
	descriptors, err := os.ReadDir("/proc/" + strconv.Itoa(n.PID()) + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		number, err := strconv.Atoi(d.Name())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdGetfd(process, number, 0)
		if errors.Is(err, unix.EPERM) {
			t.Skip("the node's sockets are out of reach: ", err)
		} else if err != nil {
			continue // closed meanwhile
		}
		t.Cleanup(func() { unix.Close(fd) })
		listens, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		at, _ := unix.Getsockname(fd)
		if v4, ok := at.(*unix.SockaddrInet4); ok && listens == 1 && v4.Port == 8080 && addressOf(v4) == n.Address {
			all = append(all, fd)
		}
	}
	return all
}

func addressOf(sa *unix.SockaddrInet4) string {
	text := make([]string, 0, len(sa.Addr))
	for _, b := range sa.Addr {
		text = append(text, strconv.Itoa(int(b)))
	}
	return strings.Join(text, ".")
}

// TestANodeThatWouldServeNobodyGivesTheVIPAwayUnlessNoneWould makes nodes deaf: they
// run, and their loops turn.
func TestANodeThatWouldServeNobodyGivesTheVIPAwayUnlessNoneWould(t *testing.T) {
	t.Parallel()
	f := vipFleet(t)
	unfit := func(n api.VIPReport) bool {
		return strings.Contains(n.NotEligible, `self-probe fails: listener "`)
	}
	first, _ := nodeOf(t, f, awaitVIP(t, f, 3).Holder)
	hear := []func(){deafen(t, first)}
	fleettest.Wait(t, vipPatience, "the virtual IP to move, and the reason to be told", func() bool {
		v := vip(t, f)
		for _, n := range v.Nodes {
			if n.Node == first.ID && !unfit(n) {
				return false
			}
		}
		return v.Holder != "" && v.Holder != first.ID
	})
	if err := pings(f.VIP()); err != nil {
		t.Error(err)
	}
	if stdout, _, status := f.Proxyctl("vip", "shop"); status != 0 || !strings.Contains(stdout, "self-probe fails") {
		t.Errorf("%d\n%s", status, stdout)
	}

	for _, n := range f.Nodes {
		if n.ID != first.ID {
			hear = append(hear, deafen(t, n))
		}
	}
	fleettest.Wait(t, vipPatience, "all nodes to be unfit, and one to hold", func() bool {
		v := vip(t, f)
		for _, n := range v.Nodes {
			if !unfit(n) {
				return false
			}
		}
		return v.Holder != ""
	})
	if err := pings(f.VIP()); err != nil {
		t.Errorf("none is fit, and nobody serves: %v", err)
	}

	for _, undo := range hear {
		undo()
	}
	fleettest.Wait(t, vipPatience, "all nodes to be fit again", func() bool {
		v := vip(t, f)
		for _, n := range v.Nodes {
			if n.NotEligible != "" {
				return false
			}
		}
		return v.Holder != ""
	})
}
