//go:build linux

package evloop

import (
	"testing"
	"time"
)

// TestTheDateIsThatOfTheTurn and changes with the second, whatever the instants count from.
func TestTheDateIsThatOfTheTurn(t *testing.T) {
	c := newClock(time.Date(2026, 11, 29, 23, 59, 58, 999_999_000, time.UTC))
	for _, step := range []struct {
		now  time.Duration
		date string
	}{
		{0, "Sun, 29 Nov 2026 23:59:58 GMT"},
		{time.Microsecond, "Sun, 29 Nov 2026 23:59:59 GMT"},
		{time.Second, "Sun, 29 Nov 2026 23:59:59 GMT"},
		{time.Second + time.Microsecond, "Mon, 30 Nov 2026 00:00:00 GMT"},
	} {
		c.now = int64(step.now)
		if got := string(c.date()); got != step.date {
			t.Errorf("after %s: %s, not %s", step.now, got, step.date)
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		c.now += int64(time.Second)
		_ = c.date()
	}); n != 0 {
		t.Errorf("%v allocations a second", n)
	}
}
