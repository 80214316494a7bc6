//go:build linux

package agent

import (
	"math"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestAnAddressIsHereWhileThisMachineHasIt(t *testing.T) {
	if !isHere(netip.MustParseAddr("127.1.2.3")) {
		t.Error("one of loopback is not here")
	}
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("ip is not installed (Debian: iproute2): ", err)
	}
	runtime.LockOSThread() // for good: the thread ends with its network
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("it may not have a network of its own: ", err)
	}
	do := func(line string) {
		t.Helper()
		if out, err := exec.Command(ip, strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", line, err, out)
		}
	}
	do("link set lo up")
	do("link add here type veth peer name there")
	do("link set there up")
	do("link set here up")
	do("addr add 10.99.0.1/24 dev here")
	for _, nonlocal := range []string{"0", "1"} {
		// /proc/sys/net is the calling thread's.
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_nonlocal_bind", []byte(nonlocal), 0); err != nil {
			t.Skip("it may not say how its network takes addresses: ", err)
		}
		for _, address := range []string{"10.99.0.7", "192.0.2.7", "2001:db8::7"} {
			a := netip.MustParseAddr(address)
			if isHere(a) {
				t.Errorf("%s is here, as nobody has said", a)
			}
			alone := netip.PrefixFrom(a, a.BitLen()).String()
			do("addr add " + alone + " dev lo nodad")
			eventually(t, alone+" to be here", func() bool { return isHere(a) }) // one of IPv6 is soon
			do("addr del " + alone + " dev lo")
			if isHere(a) {
				t.Errorf("%s is here still", a)
			}
		}
	}
}

// TestAnAddressThatGoesIsLeftToOthers: its sockets listen on, and nobody reaches them.
func TestAnAddressThatGoesIsLeftToOthers(t *testing.T) {
	has := true
	now := int64(1)
	e := &env{
		clock: func() int64 { return now }, out: newOutbox(), here: func(netip.Addr) bool { return has },
		open: func(netip.AddrPort, int) (int, error) { return openListening(netipLoopback, 1) },
	}
	w := &fleetv1.AgentVip{Address: "127.0.0.1", Ports: []*fleetv1.AgentPort{{Port: 8080}, {Port: 8443}}} // for which nobody needs a right
	h := &holding{}
	defer h.end(e)
	after := func(passed int64) {
		now += passed
		e.left, e.finds = openAtOnce, findAtOnce
		h.serve(w, now, math.MaxInt64, e)
	}
	after(0)
	if !h.serves() || len(h.sockets) != 2 || e.obstacle(w) != nil {
		t.Fatalf("%d sockets, %s, %v", len(h.sockets), h.problem, e.obstacle(w))
	}
	has = false
	for end := now + findEvery + 3*lookEvery; now < end; {
		after(lookEvery)
	}
	if len(h.sockets) != 0 || !h.hopeless(now, false) || !h.hopeless(now, true) || h.why() != errNotHere.Error() {
		t.Errorf("%d sockets, %q", len(h.sockets), h.why())
	}
	if e.obstacle(w) == nil {
		t.Error("it would try again, and take it from who has the address")
	}
}
