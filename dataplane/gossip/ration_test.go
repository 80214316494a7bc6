package gossip

import (
	"testing"
	"time"
)

// work has a reader work again and again, as it is told to rest, for a while. It waits for the
// next datagram after each piece of work.
func work(r *ration, each, wait time.Duration, strangers, all int, last bool) (worked, rested, most time.Duration) {
	now := time.Unix(1, 0)
	for end := now.Add(time.Second); now.Before(end); {
		begin := now
		now = now.Add(each)
		worked += each
		rest := r.spend(begin, now, strangers, all, last)
		most = max(most, rest)
		rested += rest
		now = now.Add(rest + wait)
	}
	return worked, rested, most
}

func TestStrangersGetAThirdOfAReadersTime(t *testing.T) {
	const us, ms = time.Microsecond, time.Millisecond
	for name, c := range map[string]struct {
		each, wait time.Duration
		of         int // of 16
		last       bool
		most       time.Duration
		rests      bool
	}{
		"without end":             {20 * us, 0, 16, false, 340 * ms, true},
		"half of it":              {20 * us, 0, 8, false, 510 * ms, true},
		"as much as they may":     {20 * us, 40 * us, 16, false, 340 * ms, false},
		"only members":            {20 * us, 0, 0, false, 1001 * ms, false},
		"on a busy processor":     {10 * ms, 0, 16, false, 1000 * ms, true},
		"one now and then":        {2 * us, ms, 16, true, 3 * ms, false},
		"one in each, of many":    {20 * us, 0, 1, false, 901 * ms, true},
		"in turns of some more":   {400 * us, 0, 16, false, 340 * ms, true},
		"each as it comes":        {2 * us, 20 * us, 16, true, 40 * ms, true},
		"members, as each comes":  {2 * us, 20 * us, 0, true, 100 * ms, false},
		"half of them is members": {2 * us, 20 * us, 8, true, 60 * ms, true},
	} {
		t.Run(name, func(t *testing.T) {
			worked, rested, most := work(&ration{}, c.each, c.wait, c.of, 16, c.last)
			if worked > c.most || rested > 0 != c.rests || most > restMost {
				t.Errorf("worked for %s, rested for %s, %s at a time", worked, rested, most)
			}
		})
	}
}
