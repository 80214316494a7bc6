//go:build linux

package evloop

import (
	"sync"
	"sync/atomic"
	"time"
)

// faults is what the clients of a listener owe for connections that ended by their fault. A
// fault costs a part of faultWindow, and time pays it back: whoever owes all of the window has
// no more, and is refused until there is room for another fault. So a client has as many
// faults at once as its listener allows, and in the long run as many in each window. One that is as heavy
// as several counts whole where there is room for one.
//
// Whoever has used up his faults has a tenth of them until he owes nothing any more (none, of fewer than
// ten), and relapses if he uses these up too: then he is refused for relapseTime. Else an attacker would have what time pays back for as long as
// it likes. Connections that were begun before the first time count as ever: there may be thousands, and they
// end when they do.
//
// It has room for faultSets × faultWays clients who owe. Where more do, who owes the least is
// forgiven. What nobody owes any more is nothing to clean up: it is a time that has passed.
type faults struct {
	latest atomic.Int64 // when nobody owes anything any more
	told   atomic.Int64 // when the log was told last; 0: it was not

	mu   sync.Mutex
	sets *[faultSets][faultWays]debt // guarded by mu; nil: nobody ever owed
}

// debt is what one client owes: nothing, from paid on.
type debt struct {
	client  uint64
	paid    int64
	stopped int64 // when the client used up its faults, the first time in this debt; 0: it did not
}

const (
	// faultWindow is in which time a client has paid for as many faults as it may have.
	faultWindow = int64(10 * time.Second)
	// faultLongest bounds what one owes, and so how long it is refused: it may have had
	// thousands of connections, each of which ended by its fault. Others may have its address.
	faultLongest = faultWindow + int64(20*time.Second)
	// faultSets and faultWays are 96 KiB for each listener with a limit and somebody at fault.
	faultSets = 1 << faultSetBits
	faultWays = 8

	faultSetBits = 9
	// relapseWeight is as how many faults one counts of a client who has used up his.
	relapseWeight = 10
	// relapseTime is how long who relapses is refused: no less than a fault costs at most. It is not added up, as
	// whoever is let in may begin many connections before the first of them ends.
	relapseTime = faultWindow
	// faultsTold is how often the log is told of a client that is refused.
	faultsTold = int64(time.Minute)
)

// spent says that who has paid at that time may have no more faults.
func spent(paid, now int64, most int) bool {
	return paid-now > faultWindow-faultWindow/int64(most)
}

// add counts a fault of a client on a connection that was begun then, as heavy as so many, at most as all that
// there may be. refused: the client is refused from now on, and was not before.
func (f *faults) add(client uint64, begun, now int64, most, weight int) (refused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sets == nil {
		f.sets = new([faultSets][faultWays]debt)
	}
	d := f.debtOf(client)
	if d.client != client || d.paid <= now {
		*d = debt{client: client, paid: now}
	}
	each, already := faultWindow/int64(most), spent(d.paid, now, most)
	again := d.stopped > 0 && begun > d.stopped && !already
	if again {
		weight *= relapseWeight
	}
	d.paid += int64(min(weight, most)) * each
	stops := spent(d.paid, now, most)
	switch {
	case stops && again:
		d.paid = now + relapseTime + faultWindow - each
	case stops && d.stopped == 0:
		d.stopped = now
	}
	d.paid = min(d.paid, now+faultLongest)
	f.latest.Store(max(f.latest.Load(), d.paid))
	return stops && !already
}

// refuses says whether a client is refused.
func (f *faults) refuses(client uint64, now int64, most int) bool {
	return f.refusedUntil(client, now, most) > 0
}

// refusedUntil says until when a client is refused, or 0; most is how many faults it may have, 0: any
// number. Where nobody is refused no lock is taken.
func (f *faults) refusedUntil(client uint64, now int64, most int) (until int64) {
	if most == 0 || !spent(f.latest.Load(), now, most) {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.debtOf(client)
	if d.client != client || !spent(d.paid, now, most) {
		return 0
	}
	return d.paid - faultWindow + faultWindow/int64(most)
}

// debtOf is a client's debt, or that of who owes the least of those in whose place it would
// be. There are debts.
func (f *faults) debtOf(client uint64) *debt {
	const golden = 0x9e3779b97f4a7c15
	set := &f.sets[client*golden>>(64-faultSetBits)]
	least := &set[0]
	for i := range set {
		if set[i].client == client {
			return &set[i]
		}
		if set[i].paid < least.paid {
			least = &set[i]
		}
	}
	return least
}

// tell says that the log is to be told of a client that is refused: not of each.
func (f *faults) tell(now int64) bool {
	told := f.told.Load()
	return (told == 0 || now-told >= faultsTold) && f.told.CompareAndSwap(told, now)
}
