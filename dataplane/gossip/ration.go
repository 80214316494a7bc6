package gossip

import "time"

const (
	// restFor is how many times as long as it worked for strangers a reader rests: they get a
	// third of one processor at most, which may be the only one, and at a real-time priority
	// (package agent).
	restFor = 2
	// wakeFor is what it counts besides that a reader was woken for strangers, which takes longer
	// than reading what woke it: some 35 µs on a virtual machine, by a flood that its reader keeps
	// up with and is woken by for each datagram.
	wakeFor = 40 * time.Microsecond
	// restLeast is what is worth a timer. Meanwhile the kernel keeps what comes.
	restLeast = 500 * time.Microsecond
	// restMost bounds one rest: what was taken for work may have been the wait for a processor,
	// and members wait too.
	restMost = 5 * time.Millisecond
)

// ration bounds what share of its time a reader spends on strangers.
type ration struct {
	debt time.Duration // of rest
	paid time.Time     // until when
}

// spend takes note of work that was done, of which that many parts of all were for strangers,
// and says for how long to rest now. last: nothing more was there, so what comes next wakes
// the reader.
func (r *ration) spend(begin, end time.Time, strangers, all int, last bool) (rest time.Duration) {
	if !r.paid.IsZero() {
		r.debt = max(0, r.debt-max(0, begin.Sub(r.paid)))
	}
	r.paid = end
	if strangers > 0 {
		worked := end.Sub(begin)
		if last {
			worked += wakeFor
		}
		r.debt += restFor * worked * time.Duration(strangers) / time.Duration(all)
	}
	if r.debt < restLeast {
		return 0
	}
	rest = min(r.debt, restMost)
	r.debt, r.paid = 0, end.Add(rest)
	return rest
}
