//go:build linux

package evloop

import (
	"math/bits"
	"time"
)

// The timer wheel: deadlines are kept to one tick, later than asked by at most
// that. What lies beyond the horizon is put at its end and looked at again then.
const (
	wheelTick  = 1 << 24 // nanoseconds: 16.8 ms
	wheelSlots = 512     // horizon 8.6 s
)

// timer is a link's place in the wheel. It moves only when a deadline comes
// earlier than the place; a later deadline is found when the place comes up. So a
// connection that serves thousands of requests a second touches the wheel once
// in seconds.
type timer struct {
	next, prev *link
	tick       int64 // when its slot comes up
	armed      bool
}

type wheel struct {
	slots  [wheelSlots]*link
	filled [wheelSlots / 64]uint64
	tick   int64 // every slot before this one has come up; it has too, unless links are left in it
}

func (w *wheel) start(now int64) { w.tick = now / wheelTick }

// arm makes sure that k is looked at no later than one tick after deadline.
func (w *wheel) arm(k *link, deadline int64) {
	tick := deadline/wheelTick + 1
	if tick <= w.tick {
		tick = w.tick + 1
	}
	if tick > w.tick+wheelSlots-1 {
		tick = w.tick + wheelSlots - 1
	}
	if k.timer.armed {
		if k.timer.tick <= tick {
			return
		}
		w.disarm(k)
	}
	slot := tick % wheelSlots
	head := w.slots[slot]
	k.timer = timer{next: head, tick: tick, armed: true}
	if head != nil {
		head.timer.prev = k
	}
	w.slots[slot] = k
	w.filled[slot/64] |= 1 << (slot % 64)
}

// disarm takes k out of the wheel.
func (w *wheel) disarm(k *link) {
	if !k.timer.armed {
		return
	}
	slot := k.timer.tick % wheelSlots
	if k.timer.prev != nil {
		k.timer.prev.timer.next = k.timer.next
	} else {
		w.slots[slot] = k.timer.next
		if k.timer.next == nil {
			w.filled[slot/64] &^= 1 << (slot % 64)
		}
	}
	if k.timer.next != nil {
		k.timer.next.timer.prev = k.timer.prev
	}
	k.timer = timer{}
}

// expire takes out one link whose slot has come up; nil when there is none. Who stops
// before that goes on with the same slot.
func (w *wheel) expire(now int64) *link {
	for target := now / wheelTick; w.tick <= target; w.tick++ {
		if k := w.slots[w.tick%wheelSlots]; k != nil {
			w.disarm(k)
			return k
		}
	}
	w.tick--
	return nil
}

// wait is how long nothing comes up; negative: the wheel is empty.
func (w *wheel) wait(now int64) time.Duration {
	start := w.tick
	for i := int64(0); i < wheelSlots; {
		slot := (start + i) % wheelSlots
		word := w.filled[slot/64] >> (slot % 64)
		if word == 0 {
			i += 64 - slot%64
			continue
		}
		due := (start + i + int64(bits.TrailingZeros64(word))) * wheelTick
		return time.Duration(max(due-now, 0))
	}
	return -1
}
