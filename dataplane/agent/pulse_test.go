//go:build linux

package agent

import (
	"bytes"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const ms = int64(time.Millisecond)

// hearing is a loop that has heard a sign of life at the time 2.
func hearing(stopped, starved bool) *loop {
	l := &loop{log: slog.New(slog.DiscardHandler), look: func(int64) (bool, bool) { return stopped, starved }}
	l.heard = 1
	l.hearPulse(pulse{at: 2, healthy: true}, 2)
	return l
}

// TestASilentMainProcessIsNotAlive has the agent look every 10 ms.
func TestASilentMainProcessIsNotAlive(t *testing.T) {
	for _, c := range []struct {
		name             string
		stopped, starved bool
		after            time.Duration
	}{
		{"it is stopped", true, false, silence},
		{"it hangs", false, false, silence},
		{"it waits for a processor", false, true, starvedFor},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := hearing(c.stopped, c.starved)
			for now := int64(2); now < 2*int64(starvedFor); now += 10 * ms {
				l.hearPulse(pulse{}, now)
				if quiet := time.Duration(now - 2); l.alive && quiet >= c.after+lookEach || !l.alive && quiet < c.after {
					t.Fatalf("after %s: alive %v", quiet, l.alive)
				}
			}
			if l.hearPulse(pulse{at: 5000 * ms, healthy: true}, 5000*ms); !l.alive || !l.healthy {
				t.Error("a sign of life makes it alive again")
			}
		})
	}
}

// TestAnAgentThatWasLateItselfLooksTwice has nothing to compare its first look with.
func TestAnAgentThatWasLateItselfLooksTwice(t *testing.T) {
	l := hearing(false, true)
	if l.hearPulse(pulse{}, 400*ms); !l.alive {
		t.Error("it did not look twice")
	}
	if l.hearPulse(pulse{}, 1100*ms); l.alive {
		t.Error("alive after a second of silence")
	}
}

func TestSignsOfLifeOfLongAgoAreNone(t *testing.T) {
	l := hearing(false, false)
	// The agent was stopped; what waits in the pipe was written meanwhile, and the
	// main process was stopped too, later.
	l.hearPulse(pulse{at: 1000 * ms, healthy: true}, 5000*ms)
	if l.alive {
		t.Error("a sign of life that is 4 s old counts")
	}
	l.hearPulse(pulse{at: 4900 * ms, healthy: true}, 5000*ms)
	if !l.alive {
		t.Error("one that is 100 ms old does not")
	}
	l.hearPulse(pulse{at: 4800 * ms}, 5000*ms)
	if !l.healthy {
		t.Error("an older one took its place")
	}
	l.hearPulse(pulse{at: 6000 * ms}, 5000*ms)
	if l.heard != 4900*ms {
		t.Error("one of the future counts")
	}
}

// TestASignOfLifeThatIsReadLateEndsNoHold which silence would not have ended: it is
// no reason to believe less of the main process than saying nothing is.
func TestASignOfLifeThatIsReadLateEndsNoHold(t *testing.T) {
	l := hearing(false, true)
	if l.hearPulse(pulse{at: 100 * ms, healthy: true}, 400*ms); !l.alive {
		t.Error("a sign of life ended it, of a main process that waits for a processor")
	}
	if l.hearPulse(pulse{}, 1200*ms); l.alive {
		t.Error("alive after more than a second of silence")
	}
	if l.hearPulse(pulse{at: 1100 * ms, healthy: true}, 1400*ms); l.alive {
		t.Error("a sign of life that is 300 ms old makes it alive again")
	}
}

func TestOfManySignsOfLifeThatWaitTheLastCountsHoweverTheyAreCut(t *testing.T) {
	var all []byte
	for at := range int64(100) {
		all = pulse{at: at, healthy: at%2 == 1}.append(all)
	}
	for _, size := range []int{1, 7, pulseSize, 100, len(all)} {
		heard := make(chan pulse, 1)
		hearPulses(&pieces{all, size}, heard)
		if last, ok := <-heard; !ok || last != (pulse{99, true}) {
			t.Errorf("%d bytes at a time: %+v", size, last)
		}
	}
}

// pieces is read a few bytes at a time.
type pieces struct {
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

func TestAProcessThatIsStoppedOrSleepsDoesNotWaitForAProcessor(t *testing.T) {
	c := exec.Command("/bin/sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	eventually(t, "it sleeps", func() bool { return stateOf(c.Process.Pid) == "S" })
	o := newOnlooker(c.Process.Pid)
	o.look(boottime())
	eventually(t, "it sleeps, and that is seen", func() bool { // it may have waited before
		<-time.After(lookEach)
		stopped, starved := o.look(boottime())
		return !stopped && !starved
	})
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool { return stateOf(c.Process.Pid) == "T" })
	if stopped, starved := o.look(boottime()); !stopped || starved {
		t.Errorf("it is stopped: stopped %v, waits %v", stopped, starved)
	}
}

// TestAProcessWhoseThreadsCrowdOneProcessorWaits needs no rights, and no quiet
// machine: eight threads share one processor, so each waits for most of the time.
func TestAProcessWhoseThreadsCrowdOneProcessorWaits(t *testing.T) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	var one unix.CPUSet
	for i := 0; one.Count() == 0; i++ {
		if all.IsSet(i) {
			one.Set(i)
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(12))
	var end atomic.Bool
	var wait sync.WaitGroup
	defer wait.Wait()
	defer end.Store(true)
	for range 8 {
		wait.Go(func() {
			runtime.LockOSThread() // never unlocked: the thread ends, with its affinity
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
			}
			for !end.Load() {
			}
		})
	}
	o := newOnlooker(unix.Getpid())
	eventually(t, "a thread that waits", func() bool {
		_, starved := o.look(boottime())
		<-time.After(lookEach)
		return starved
	})
}

// TestAThreadOfWhichOnlyTheStateIsKnownDoesNotWait: without schedstat one that spins
// looks as if it never ran.
func TestAThreadOfWhichOnlyTheStateIsKnownDoesNotWait(t *testing.T) {
	for _, c := range []struct {
		name   string
		thread thread
		waited int64
	}{
		{"only its state is known", thread{state: 'R'}, 0},
		{"it is ready, and has not run since", thread{state: 'R', ran: 1}, 50 * ms},
		{"it sleeps", thread{state: 'S', ran: 1}, 0},
	} {
		if got := c.thread.waitedSince(c.thread, 50*ms); got != c.waited {
			t.Errorf("%s: it waited for %s, expected %s", c.name, time.Duration(got), time.Duration(c.waited))
		}
	}
}

func TestAPulseSaysWhatWasWritten(t *testing.T) {
	for _, p := range []pulse{{}, {at: 1<<62 + 5}, {at: 77, healthy: true}} {
		b := p.append(nil)
		if got := decodePulse(b); len(b) != pulseSize || got != p {
			t.Errorf("%+v: %d bytes, %+v", p, len(b), got)
		}
	}
	if bytes.Equal(pulse{}.append(nil), pulse{healthy: true}.append(nil)) {
		t.Error("health is not in it")
	}
}

// TestAnAgentThatIsSilentIsFoundOnAMachineThatHaltsAgainAndAgain halts this process for
// half of each second.
func TestAnAgentThatIsSilentIsFoundOnAMachineThatHaltsAgainAndAgain(t *testing.T) {
	begin := time.Now()
	now := begin
	l := &life{heard: begin}
	for l.silentFor(now) <= maxSilence {
		if now.Sub(begin) > 3*maxSilence {
			t.Fatalf("silent for %s after %s", l.silentFor(now), now.Sub(begin))
		}
		now = now.Add(time.Second)
		l.excuse(now.Add(-time.Second/2), now)
	}
	if took := now.Sub(begin); took < 2*maxSilence {
		t.Errorf("found after %s, of which half was this process' own", took)
	}
	l.heard = now // heard right after it went on
	if l.excuse(now.Add(-time.Second), now); l.silentFor(now) != 0 {
		t.Errorf("heard now, and silent for %s", l.silentFor(now))
	}
}
