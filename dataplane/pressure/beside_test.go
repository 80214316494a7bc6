package pressure

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
)

// TestAProcessBesideCountsUntilItHasEnded has one that does nothing, whose memory of its
// own is small, and this one beside itself.
func TestAProcessBesideCountsUntilItHasEnded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc")
	}
	const mib = 1 << 20
	m := &Monitor{limit: 1000 * mib, common: 2000 * mib}
	m.Beside(os.Getpid())
	resident, shared, err := readStatm(m.beside.Load().File)
	if err != nil || shared == 0 || shared >= resident {
		t.Fatalf("%d bytes, of which %d are shared: %v", resident, shared, err)
	}
	own := resident - shared
	for _, c := range []struct{ limit, common, used, low, high uint64 }{
		{0, own * 2, own, 90, 120},
		{own, own * 2, own, 100, 120},
		{own * 10, own * 100, own, 10, 10}, // its own limit is nearer
		{own * 10, 0, own, 10, 10},         // they share none
	} {
		m.limit, m.common = c.limit, c.common
		if got := m.percent(c.used); got < c.low || got > c.high {
			t.Errorf("limits %d and %d, of which this process has %d: %d percent, expected %d to %d", c.limit, c.common, c.used, got, c.low, c.high)
		}
	}

	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Skip("there is no other process to look at: ", err)
	}
	m = Both(100*mib, c.Process.Pid)
	if got := m.percent(50 * mib); got < 50 || got > 55 {
		t.Errorf("beside one that sleeps: %d percent", got)
	}
	_, open := m.beside.Load().Stat()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := Both(100*mib, c.Process.Pid)
	file := other.beside.Load()
	if err := other.Run(ctx, func(Level) {}); open != nil || err != nil || other.beside.Load() != nil {
		t.Errorf("the end of watching: %v, %v", open, err)
	}
	if _, err := file.Stat(); err == nil {
		t.Error("the file of the process beside is open still")
	}
	_ = c.Process.Kill()
	_ = c.Wait()
	if got := m.percent(50 * mib); got != 0 || m.beside.Load() != nil {
		t.Errorf("beside one that has ended: %d percent", got)
	}
	if m.Beside(c.Process.Pid); m.beside.Load() != nil {
		t.Error("one that has ended stands beside")
	}
}

func TestTheCollectorLeavesRoomForAProcessBeside(t *testing.T) {
	const mib = 1 << 20
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	m := New(1000*mib, 1000*mib)
	for _, c := range []struct{ beside, want uint64 }{
		{0, 800}, {10, 800}, {300, 500}, {310, 500}, {5000, 200}, {0, 800},
	} {
		m.collectBelow(c.beside * mib)
		if got := uint64(debug.SetMemoryLimit(-1)) / mib; got+5 < c.want || got > c.want+5 { //nolint:gosec // not negative
			t.Errorf("%d MiB beside: it collects at %d MiB, expected %d", c.beside, got, c.want)
		}
	}
	if m = Both(1000*mib, os.Getpid()); m.collect != 0 {
		t.Error("who only looks changes the collector")
	}
}

func TestWhatIsUsedAtTheStartIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		uses := uses{90}
		m := &Monitor{limit: 100, open: func() (gauge, error) { return &uses, nil }}
		ctx, cancel := context.WithCancel(t.Context())
		var told []Level
		err := m.Run(ctx, func(l Level) {
			told = append(told, l)
			cancel()
		})
		if err != nil || !slices.Equal(told, []Level{High}) {
			t.Errorf("told %v, %v", told, err)
		}
	})
}
