//go:build linux

package fleettest

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestACrowdIsWhatOthersTake(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name            string
		wall, busy, own time.Duration
		before, after   int // processors
		want            float64
	}{
		{name: "nobody", wall: s, before: 2, after: 2, want: 0},
		{name: "the test alone", wall: s, busy: 2 * s, own: 2 * s, before: 2, after: 2, want: 0},
		{name: "others on one of two", wall: s, busy: s, before: 2, after: 2, want: 0.5},
		{name: "both share", wall: s, busy: 2 * s, own: s, before: 2, after: 2, want: 0.5},
		{name: "others on all", wall: s, busy: 2 * s, before: 2, after: 2, want: 1},
		{name: "counters that are not exact", wall: s, busy: s, own: s + clockTick, before: 2, after: 2, want: 0},
		{name: "others, by counters that are not exact", wall: s, busy: 2*s + clockTick, before: 2, after: 2, want: 1},
		{name: "too short", wall: crowdLeast / 2, busy: crowdLeast, before: 2, after: 2, want: 0},
		{name: "other processors", wall: s, busy: 2 * s, before: 2, after: 1, want: 0},
	} {
		from := usage{at: time.Unix(1000, 0), processors: c.before, busy: 7 * s, own: 3 * s}
		to := usage{at: from.at.Add(c.wall), processors: c.after, busy: from.busy + c.busy, own: from.own + c.own}
		if got := crowdBetween(from, to); got != c.want {
			t.Errorf("%s: %.3f, want %.3f", c.name, got, c.want)
		}
	}
}

// used is usedSoFar where it must be known.
func used(t *testing.T) usage {
	t.Helper()
	u, ok := usedSoFar()
	if !ok {
		t.Fatal("nothing is known")
	}
	return u
}

// spin uses a processor until it is killed, or has used 20 s of it: timeout(1) would end nothing
// if it were told to before it knew its child.
const spin = "ulimit -t 20; while :; do :; done"

func TestWhatTheTestsProcessesUseIsItsOwn(t *testing.T) {
	from := used(t)
	// A grandchild spins.
	c := exec.Command("sh", "-c", "("+spin+") & wait")
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL); _ = c.Wait() })
	Wait(t, 20*time.Second, "its time", func() bool { return used(t).own-from.own > 300*time.Millisecond })
}

func TestWhatAStrangerUsesIsNotTheTestsOwn(t *testing.T) {
	from := used(t)
	// A shell that ends at once leaves its child to others.
	out, err := exec.Command("sh", "-c", "("+spin+") >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	Wait(t, 20*time.Second, "its time", func() bool {
		now := used(t)
		return now.busy-from.busy-(now.own-from.own) > 300*time.Millisecond
	})
}

func TestNothingIsSaidOfAMachineThatWasNotWatchedYet(t *testing.T) {
	if share := Crowd()(); share != 0 {
		t.Errorf("%.2f", share)
	}
}

func TestWhatMissedIsJudgedByWhatNobodySpoilt(t *testing.T) {
	const quiet, busy = spoilt, spoilt + 0.01
	for _, c := range []struct {
		name    string
		shares  []float64 // of measurements that missed
		last    bool      // there is no time behind them
		failed  bool
		skipped bool
	}{
		{name: "one of chance", shares: []float64{quiet}},
		{name: "two of chance", shares: []float64{busy, quiet, quiet}},
		{name: "three times", shares: []float64{quiet, quiet, quiet}, failed: true},
		{name: "three times beside spoilt ones", shares: []float64{busy, quiet, quiet, busy, quiet}, failed: true},
		{name: "each time there was", shares: []float64{quiet, quiet}, last: true, failed: true},
		{name: "always spoilt", shares: []float64{busy, 1, busy, busy, busy}},
		{name: "always spoilt, to the end", shares: []float64{busy, 1}, last: true, skipped: true},
		{name: "some spoilt, to the end", shares: []float64{quiet, busy, quiet}, last: true, skipped: true},
	} {
		var v verdict
		for i, share := range c.shares {
			if v.failed || v.skipped != "" {
				t.Errorf("%s: decided behind %d", c.name, i)
			}
			v.add("late", share, c.last && i == len(c.shares)-1)
		}
		if v.failed != c.failed || (v.skipped != "") != c.skipped {
			t.Errorf("%s: failed %t, skipped %q", c.name, v.failed, v.skipped)
		}
	}
	var v verdict
	v.add("late", 0.431, true)
	if want := "not judged: others had up to 43 % of the processors beside 1 of 1 measurements, the last of which missed: late"; v.skipped != want {
		t.Errorf("%q", v.skipped)
	}
}

func TestJudgeIsContentWithOneMeasurementThatMeetsItsBounds(t *testing.T) {
	tries := 0
	Judge(t, func() string {
		if tries++; tries < 3 {
			return "late"
		}
		return ""
	})
	if tries != 3 {
		t.Errorf("measured %d times", tries)
	}
}
