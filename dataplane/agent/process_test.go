//go:build linux

package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/vip"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

func TestAKilledMainProcessTakesItsAgentWithItAndAnotherHolds(t *testing.T) {
	p := newPlace(t)
	nodes := p.remoteFleet(t)
	first := p.holder(t)
	r := nodes[first]
	r.findAgent()
	r.signal(r.main(), syscall.SIGKILL)
	took := p.moved(t, first)
	t.Logf("another holder after %s", took)
	if took > busySecond {
		t.Errorf("that is more than %s", busySecond)
	}
	eventually(t, "the agent's end", func() bool { return strings.Contains("Z", stateOf(r.agent)) })
}

func TestAStoppedAgentGoesOnAndEndsWhenItsMainProcessIsKilled(t *testing.T) {
	p := newPlace(t)
	nodes := p.remoteFleet(t)
	first := p.holder(t)
	r := nodes[first]
	r.findAgent()
	r.signal(r.agent, syscall.SIGSTOP)
	eventually(t, "the agent to be stopped", func() bool { return stateOf(r.agent) == "T" })
	r.signal(r.main(), syscall.SIGKILL)
	p.moved(t, first)
	eventually(t, "the agent's end", func() bool { return strings.Contains("Z", stateOf(r.agent)) })
}

// endVariable has the first agent of a place that listens end, or stop, before it tells
// anybody: its value is a signal, and a file that there is then, with its process id.
const endVariable = "AGENT_TEST_END"

// openAndEnd is openListening, and what endVariable says.
func openAndEnd() openFunc {
	number, path, is := strings.Cut(os.Getenv(endVariable), " ")
	if !is {
		return openListening
	}
	return func(a netip.AddrPort, backlog int) (fd int, err error) {
		if fd, err = openListening(a, backlog); err != nil {
			return fd, err
		}
		f, failed := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if failed != nil {
			return fd, nil // another was first
		}
		fmt.Fprintln(f, os.Getpid())
		f.Close()
		n, _ := strconv.Atoi(number)
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		return fd, nil
	}
}

// TestAnAgentThatEndsWithASocketThatNobodyKnowsOfDoesNotKeepTheAddress: between listening
// and passing the socket on only it has it, so its main process cannot end that. One that
// is stopped keeps it until its main process finds it silent, and kills it.
func TestAnAgentThatEndsWithASocketThatNobodyKnowsOfDoesNotKeepTheAddress(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		most   time.Duration
	}{
		{"killed", syscall.SIGKILL, 2 * busySecond},
		{"stopped", syscall.SIGSTOP, maxSilence + 2*busySecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ended")
			t.Setenv(endVariable, fmt.Sprintf("%d %s", int(c.signal), path))
			p := newPlace(t)
			p.remotes(t)
			var pid int
			eventually(t, "the first to listen", func() bool {
				text, _ := os.ReadFile(path)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return pid > 0
			})
			begun := time.Now()
			id := p.holder(t)
			took := time.Since(begun)
			t.Logf("%s answers after %s", id, took)
			if took > c.most {
				t.Errorf("that is more than %s", c.most)
			}
			eventually(t, "its end", func() bool { return strings.Contains("Z", stateOf(pid)) })
		})
	}
}

// TestWhoeverIsStoppedIsNoSecondHolderWhenItGoesOn stops processes of the holder,
// waits for another, and lets them go on in either order.
func TestWhoeverIsStoppedIsNoSecondHolderWhenItGoesOn(t *testing.T) {
	for _, c := range []struct {
		name       string
		stop, cont []string
	}{
		{"the main process", []string{"main"}, []string{"main"}},
		{"the agent", []string{"agent"}, []string{"agent"}},
		{"both, the agent goes on first", []string{"main", "agent"}, []string{"agent", "main"}},
		{"both, the main process goes on first", []string{"agent", "main"}, []string{"main", "agent"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			nodes := p.remoteFleet(t)
			first := p.holder(t)
			r := nodes[first]
			r.findAgent()
			pid := func(who string) int {
				if who == "main" {
					return r.main()
				}
				return r.agent
			}
			held, ended := countOthers(nodes, first, wordHolds), countOthers(nodes, first, wordEnds)
			for _, who := range c.stop {
				r.signal(pid(who), syscall.SIGSTOP)
				eventually(t, "it has stopped", func() bool { return stateOf(pid(who)) == "T" })
			}
			if len(c.stop) == 1 {
				took := p.moved(t, first)
				t.Logf("another holder after %s", took)
				if took > busySecond {
					t.Errorf("that is more than %s", busySecond)
				}
			} else {
				// Nobody can take the socket away; it queues, and is not answered.
				eventually(t, "another that is granted it", func() bool {
					if id := p.ask(); id != "" {
						t.Fatalf("%s answers while both are stopped", id)
					}
					return countOthers(nodes, first, wordHolds) > held
				})
			}
			// Those who cannot have the address leave it to the one that was stopped.
			gaveUp := func() bool { return countOthers(nodes, first, wordEnds) > ended }
			for _, who := range c.cont {
				r.signal(pid(who), syscall.SIGCONT)
			}
			eventually(t, "another holder", func() bool {
				id := p.ask()
				return id != "" && id != first || gaveUp()
			})
			for resumed := time.Now(); time.Since(resumed) < time.Second; {
				if id := p.ask(); id == first {
					eventually(t, "the end of another, as the one that was stopped answers", gaveUp)
				}
			}
		})
	}
}

func TestAnAgentThatHearsWhatIsNoMessageEnds(t *testing.T) {
	p := newPlace(t)
	start := &fleetv1.ToAgent{Message: &fleetv1.ToAgent_Start{Start: p.start("1")}}
	for name, garbage := range map[string][]byte{
		"a length beyond all bounds": binary.BigEndian.AppendUint32(nil, maxMessage+1),
		"no protobuf":                append(binary.BigEndian.AppendUint32(nil, 3), 0xff, 0xff, 0xff),
	} {
		for _, started := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, started %v", name, started), func(t *testing.T) {
				c, peer, err := pair()
				if err != nil {
					t.Fatal(err)
				}
				defer c.close()
				reader, pulse, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer pulse.Close()
				cmd := agentProcess(t.Output())()
				cmd.ExtraFiles = []*os.File{peer, reader}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				peer.Close()
				reader.Close()
				if started {
					if err := c.send(start, noFD); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := c.socket.Write(garbage); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case err := <-ended:
					t.Log("it ended:", err)
				case <-time.After(10 * time.Second):
					_ = cmd.Process.Kill()
					t.Error("it goes on")
				}
			})
		}
	}
}

// TestAnAgentThatSaysWhatIsNoMessageIsReplaced runs a program that is none.
func TestAnAgentThatSaysWhatIsNoMessageIsReplaced(t *testing.T) {
	s := New(Config{
		Start: newPlace(t).start("1"), Engine: newEngine("1"),
		Command: func() *exec.Cmd {
			return exec.Command("/bin/sh", "-c", "echo this is no message >&3; sleep 60 <&3 3>&-")
		},
		Pulse:  func() (bool, bool) { return true, true },
		Logger: slog.New(slog.DiscardHandler),
	})
	lifecycletest.Run(t, s.Run)
	eventually(t, "a second agent", func() bool { return s.State().Restarts > 0 })
}

func TestMessagesBeyondTheInboxAreLostAndCounted(t *testing.T) {
	l := &loop{inbox: make(chan vip.Message, 2)}
	m := vip.Message{Kind: vip.Request, From: "a", Boot: 1, Seq: 1, Items: []vip.Item{{VIP: "x", Term: 1, Op: vip.Ask}}}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		l.receive(b)
	}
	l.receive([]byte("no message"))
	if len(l.inbox) != 2 || l.lost.Load() != 3 {
		t.Errorf("%d wait, %d were lost", len(l.inbox), l.lost.Load())
	}
}

func TestADescriptorBelongsToTheMessageThatItCameWith(t *testing.T) {
	c, peer, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	fd, err := unix.Dup(int(peer.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	peer.Close()
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	other, err := openConn(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	socket, err := openListening(netipLoopback, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(socket)
	long := &fleetv1.FromAgent{Message: &fleetv1.FromAgent_Report{Report: &fleetv1.AgentReport{
		Members: []*fleetv1.AgentMember{{NodeId: strings.Repeat("x", 1<<20)}},
	}}}
	with := &fleetv1.FromAgent{Message: &fleetv1.FromAgent_Socket{Socket: &fleetv1.AgentSocket{Number: 7}}}
	sent := make(chan error, 1)
	go func() {
		for range 3 {
			for _, m := range []struct {
				m  *fleetv1.FromAgent
				fd int
			}{{long, noFD}, {with, socket}, {long, noFD}} {
				if err := other.send(m.m, m.fd); err != nil {
					sent <- err
					return
				}
			}
		}
		sent <- nil
	}()
	var got []bool
	for range 9 {
		var m fleetv1.FromAgent
		fd, err := c.receive(&m)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fd != noFD)
		if (m.GetSocket() != nil) != (fd != noFD) {
			t.Errorf("%T with descriptor %d", m.GetMessage(), fd)
		}
		if fd != noFD {
			closeFD(fd)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if !slices.Contains(got, true) {
		t.Error("no descriptor came")
	}
	other.close()
	if _, err := c.receive(&fleetv1.FromAgent{}); !errors.Is(err, errGone) {
		t.Errorf("the end: %v", err)
	}
}

// TestAnAgentWhoseMainProcessWasKilledSoonLeavesItsAddress is for the node that is
// started again at once: its agent wants the same address.
func TestAnAgentWhoseMainProcessWasKilledSoonLeavesItsAddress(t *testing.T) {
	const within = gossipFor // as long as the next agent tries; 70 ms on a quiet machine
	p := newPlace(t)
	nodes := p.remoteFleet(t)
	first := p.holder(t)
	r := nodes[first]
	r.findAgent()
	r.signal(r.main(), syscall.SIGKILL)
	killed := time.Now()
	eventually(t, "the agent's address", func() bool {
		c, err := net.ListenPacket("udp", p.gossip(first))
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	took := time.Since(killed)
	t.Logf("free after %s", took)
	if took > within {
		t.Errorf("expected within %s", within)
	}
}
