package gossip

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownNetwork gives the test's thread a network of its own, which ends with it, and has ip do
// some things there.
func ownNetwork(t *testing.T, lines string) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed (Debian: iproute2): ", err)
	}
	runtime.LockOSThread() // for good: nobody else gets this thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skip("it may not have a network of its own: ", err)
	}
	for line := range strings.Lines(lines) {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", line, err, out)
		}
	}
}

// TestMachinesThatAreSwitchedOffKeepNobodyFromBeingSentTo: datagrams for a machine of the own
// network that does not answer ARP are kept for seconds, and fill the socket's room.
func TestMachinesThatAreSwitchedOffKeepNobodyFromBeingSentTo(t *testing.T) {
	const off, each = 60, 300
	ownNetwork(t, `link set lo up
		link add here type veth peer name there
		addr add 10.99.0.1/24 dev here
		link set here up
		link set there up`)
	tr := listening(t, Config{NodeID: "a", Address: ":0", Insecure: true, Advertise: "10.99.0.1"})
	member := dial(t, "udp", tr)
	says := 0
	hears := func() (from string) {
		says++ // another time it would not be taken
		if _, err := member.Write(fmt.Appendf(bytes.Clone(tr.sieve.head), "here I am %d", says)); err != nil {
			t.Fatal(err)
		}
		return (<-tr.PacketCh()).From.String()
	}
	from := hears()
	begun := time.Now()
	for range each {
		for i := range off {
			if _, err := tr.WriteTo(make([]byte, 1000), fmt.Sprintf("10.99.0.%d:7946", 2+i)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took > 10*time.Second { // a tenth of one, or minutes
			t.Fatalf("it waits: %s already", took)
		}
	}
	hears() // lately, also where that took long
	if _, err := tr.WriteTo([]byte("and you are"), from); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	_ = member.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := member.Read(got); err != nil || string(got[:n]) != "and you are" {
		t.Errorf("the member that is there got %q, %v", got[:n], err)
	}
}
