package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// While the virtual IP is handed over nobody may be silent for longer than
// plannedSilence: between the end of one socket and the beginning of the other new
// connections are refused, as many as probes fit into that time. Where the machine is
// anybody's, the bounds are only to tell a hand-over from a failure.
const (
	plannedSilence         = 100 * time.Millisecond
	plannedFailed          = int(plannedSilence / probeEvery)
	plannedSilenceAnywhere = 2 * time.Second
	failedAnywhere         = 100
)

// watchVIP asks the virtual IP on new connections until stop, which gives the
// longest time without an answer and how many were not answered.
func watchVIP(t *testing.T, f *fleettest.Fleet) (stop func() (silence time.Duration, failed int)) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	var longest time.Duration
	failed := 0
	go func() {
		defer close(done)
		for last := time.Now(); ; {
			if pings(f.VIP()) == nil {
				longest = max(longest, time.Since(last))
				last = time.Now()
			} else {
				failed++
			}
			select {
			case <-end:
				return
			case <-time.After(probeEvery):
			}
		}
	}()
	return func() (time.Duration, int) {
		close(end)
		<-done
		return longest, failed
	}
}

// nodeVIPs is what a node's admin address says of virtual IPs.
type nodeVIPs struct {
	Off   string
	Agent struct {
		PID, Restarts int
		Running       bool
	}
	VIPs []struct {
		Name, State string
		Holds       bool
	}
}

func vipsOf(t *testing.T, n *fleettest.Node) (v nodeVIPs) {
	t.Helper()
	n.AdminJSON(t, "/vips", &v)
	return v
}

func TestAPlannedEndHandsTheVIPOver(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(t *testing.T, f *fleettest.Fleet, n *fleettest.Node, number int)
	}{
		{"SIGTERM", func(_ *testing.T, f *fleettest.Fleet, n *fleettest.Node, number int) {
			n.Stop()
			f.StartNode(number)
		}},
		{"drain", func(t *testing.T, f *fleettest.Fleet, n *fleettest.Node, _ int) {
			if _, stderr, status := f.Proxyctl("drain", n.ID); status != 0 {
				t.Fatal(stderr)
			}
			fleettest.Wait(t, vipPatience, "the virtual IP to move", func() bool {
				v := vip(t, f)
				return v.Holder != "" && v.Holder != n.ID
			})
			if _, stderr, status := f.Proxyctl("undrain", n.ID); status != 0 {
				t.Fatal(stderr)
			}
		}},
		{"upgrade", func(t *testing.T, f *fleettest.Fleet, n *fleettest.Node, _ int) {
			upgrade(t, f, n)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !tight() {
				t.Parallel()
			}
			f := vipFleet(t)
			for range handOvers(t) {
				before := awaitVIP(t, f, 3)
				n, number := nodeOf(t, f, before.Holder)
				said := len(n.Log())
				stop := watchVIP(t, f)
				c.end(t, f, n, number)
				fleettest.Wait(t, vipPatience, "the virtual IP to answer", func() bool { return pings(f.VIP()) == nil })
				silence, failed := stop()
				after := awaitVIP(t, f, 3)
				t.Logf("from %s to %s: silent for %v, %d new connections failed", before.Holder, after.Holder, silence, failed)
				checkHandedOver(t, n.Log()[said:])
				switch {
				case tight() && (silence > plannedSilence || failed > plannedFailed):
					t.Errorf("silent for %v, %d failed; expected at most %v and %d", silence, failed, plannedSilence, plannedFailed)
				case silence > plannedSilenceAnywhere || failed > failedAnywhere:
					t.Errorf("silent for %v, %d failed; expected at most %v and %d", silence, failed, plannedSilenceAnywhere, failedAnywhere)
				}
			}
		})
	}
}

// handOvers is how often each planned end is tried: once, or VIP_REPEATS times.
func handOvers(t *testing.T) int {
	t.Helper()
	if tight() {
		return repeats(t)
	}
	return 1
}

// checkHandedOver looks at how a node let go of the virtual IP at its planned end:
// to a successor that was ready, and not since its time had run out.
func checkHandedOver(t *testing.T, log string) {
	t.Helper()
	_, rest, found := strings.Cut(log, `"virtual IP: this node lets go"`)
	line, _, _ := strings.Cut(rest, "\n")
	if !found || !strings.Contains(line, "reason=handed_over") {
		t.Errorf("expected reason=handed_over: %q", line)
	}
}

func TestAnAgentThatDiesOrIsStoppedCostsTheVIPNoLonger(t *testing.T) {
	f := vipFleet(t)
	var killed, stopped []time.Duration
	for range repeats(t) {
		holder, _ := nodeOf(t, f, awaitVIP(t, f, 3).Holder)
		// The moment in which nobody has it may be too short to be seen.
		off := func() bool { return pings(f.VIP()) != nil || vip(t, f).Holder != holder.ID }
		agent := vipsOf(t, holder).Agent
		begin := time.Now()
		if err := syscall.Kill(agent.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		fleettest.Wait(t, vipPatience, "the address to be off", off)
		killed = append(killed, answersWithin(t, f.VIP(), begin))
		fleettest.Wait(t, vipPatience, "another agent", func() bool {
			a := vipsOf(t, holder).Agent
			return a.Running && a.Restarts > agent.Restarts
		})

		holder, _ = nodeOf(t, f, awaitVIP(t, f, 3).Holder)
		agent = vipsOf(t, holder).Agent
		begin = time.Now()
		if err := syscall.Kill(agent.PID, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		fleettest.Wait(t, vipPatience, "the address to be off", off)
		stopped = append(stopped, answersWithin(t, f.VIP(), begin))
		if err := syscall.Kill(agent.PID, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if after := awaitVIP(t, f, 3); tight() && after.Holder == holder.ID {
			t.Errorf("%s took the virtual IP back", holder.ID)
		}
	}
	checkTimes(t, "agent killed", killed, killWorst, killWorst)
	checkTimes(t, "agent stopped", stopped, stopWorst, stopWorst)
}

func TestANodeThatCannotHoldSaysWhy(t *testing.T) {
	t.Parallel()
	t.Run("gossip is off", func(t *testing.T) {
		f := fleettest.New(t, fleettest.Options{Nodes: 1})
		f.PortBackends()
		f.Apply(f.Localise(example(t, "first.yaml")))
		f.WaitNodes()
		fleettest.Wait(t, vipPatience, "the reason in the fleet's view", func() bool {
			v := vip(t, f)
			return v.Holder == "" && len(v.Nodes) == 1 && strings.Contains(v.Nodes[0].NotEligible, "gossip is off")
		})
		if v := vipsOf(t, f.Nodes[0]); v.Off == "" {
			t.Errorf("%+v", v)
		}
	})
	t.Run("it listens on all addresses", func(t *testing.T) {
		f := fleettest.New(t, fleettest.Options{Nodes: 1, Gossip: true, NodeArgs: []string{"--listen-address", "0.0.0.0"}})
		f.PortBackends()
		f.Apply(f.Localise(example(t, "first.yaml")))
		fleettest.Wait(t, vipPatience, "the node to refuse", func() bool {
			list, err := f.Client.Nodes(t.Context())
			return err == nil && len(list.Items) == 1 && list.Items[0].State == api.Rejected
		})
		if stdout, _, _ := f.Proxyctl("status"); !strings.Contains(stdout, "--listen-address") {
			t.Errorf("status says\n%s", stdout)
		}
	})
}
