//go:build linux

package evloop

import (
	"math/rand/v2"
	"testing"
)

func TestTimersComeUpOnceAndWithinATick(t *testing.T) {
	const horizon = wheelTick * wheelSlots
	rnd := rand.New(rand.NewPCG(1, 2))
	var w wheel
	now := int64(12345)
	w.start(now)
	due := map[*link]int64{}
	for step := range 20000 {
		if rnd.IntN(3) == 0 {
			k := &link{}
			due[k] = now + rnd.Int64N(3*horizon)
			w.arm(k, due[k])
		}
		if wait := w.wait(now); len(due) > 0 && wait < 0 {
			t.Fatalf("step %d: the wheel says that it is empty and holds %d", step, len(due))
		}
		now += rnd.Int64N(2 * wheelTick)
		for k := w.expire(now); k != nil; k = w.expire(now) {
			at, ok := due[k]
			if !ok {
				t.Fatalf("step %d: came up twice", step)
			}
			if now < at { // beyond the horizon: looked at again, as a loop does
				w.arm(k, at)
				continue
			}
			delete(due, k)
		}
		for _, at := range due {
			if now > at+2*wheelTick {
				t.Fatalf("step %d: a timer is late by %d", step, now-at)
			}
		}
	}
}

func TestALaterDeadlineDoesNotMoveATimerAndAnEarlierOneDoes(t *testing.T) {
	var w wheel
	w.start(0)
	k := &link{}
	w.arm(k, 100*wheelTick)
	first := k.timer.tick
	w.arm(k, 200*wheelTick)
	if k.timer.tick != first {
		t.Error("a later deadline moved the timer")
	}
	w.arm(k, 50*wheelTick)
	if k.timer.tick >= first {
		t.Error("an earlier deadline did not move the timer")
	}
	w.disarm(k)
	if w.wait(0) >= 0 {
		t.Error("the wheel is not empty")
	}
}

// TestADeadlineThatHasPassedComesUpAtTheNextTick however long ago it was: timeouts are made
// shorter under clients that wait.
func TestADeadlineThatHasPassedComesUpAtTheNextTick(t *testing.T) {
	for _, ago := range []int64{0, 1, 2, 63, 64, wheelSlots - 1, wheelSlots, wheelSlots + 1, 3*wheelSlots - 1} {
		var w wheel
		now := int64(10*wheelSlots+17) * wheelTick
		w.start(now)
		k := &link{}
		w.arm(k, now-ago*wheelTick)
		if wait := w.wait(now); wait < 0 || wait > wheelTick {
			t.Errorf("%d ticks ago: it waits for %s", ago, wait)
		}
		if w.expire(now+wheelTick) != k {
			t.Errorf("%d ticks ago: it does not come up", ago)
		}
	}
}

func TestTheWheelNeverWaitsPastATimer(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		var w wheel
		now := rnd.Int64N(1 << 40)
		w.start(now)
		k := &link{}
		w.arm(k, now+rnd.Int64N(wheelTick*wheelSlots/2))
		now += int64(w.wait(now))
		if w.expire(now) != k {
			t.Fatalf("woke at %d and nothing was due", now)
		}
	}
}

// TestATurnLooksAtMoreTimersThanItServes of those whose time was put off.
func TestATurnLooksAtMoreTimersThanItServes(t *testing.T) {
	l := startedLoop(t)
	s := socketOf(l)
	for range mostLooked {
		k := &link{fd: -1, index: uint32(len(l.links))}
		k.down = &downstream{link: k, socket: s, clientele: s.binding.clientele, since: l.now}
		l.links = append(l.links, k)
		l.wheel.arm(k, l.now)
	}
	l.now += 2 * wheelTick
	if l.expire(); l.patience() < wheelTick {
		t.Errorf("it has to look again in %s", l.patience())
	}
}

// TestNoTurnServesTimersForLong however many come up at the same time, and none is lost.
func TestNoTurnServesTimersForLong(t *testing.T) {
	const clients = 3*mostExpired + 1
	l := startedLoop(t)
	listener := (&node{}).listener()
	s := &socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &listener}
	for range clients {
		k := &link{fd: -1, index: uint32(len(l.links))}
		k.down = &downstream{link: k, socket: s, clientele: s.binding.clientele, since: l.now}
		l.links = append(l.links, k)
		l.wheel.arm(k, k.down.deadline())
	}
	l.counts.clientsChanged(clients)
	l.counts.descriptors.Add(clients)
	for end := l.now + 2*int64(listener.Timeouts.Idle); l.counts.downs > 0; {
		before := l.counts.downs
		l.expire()
		if ended := before - l.counts.downs; ended > mostExpired || l.now > end {
			t.Fatalf("%d clients ended in a turn, %d are left", ended, l.counts.downs)
		}
		l.endTurn(l.now)
		wait := l.patience()
		if l.now += int64(max(wait, 0)); l.counts.downs > 0 && (wait < 0 || before > l.counts.downs && wait > 0) {
			t.Fatalf("with %d left it sleeps for %s", l.counts.downs, wait)
		}
	}
}
