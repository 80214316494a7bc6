//go:build linux

package evloop

import (
	"fmt"
	"iter"
	"runtime/debug"
)

// maxIdleShakings bounds the coroutines that a thread keeps for handshakes to come, at 8 to
// 16 KiB each; minIdleShakings is how many of them it keeps when none is under way.
const (
	maxIdleShakings = 64
	minIdleShakings = 8
)

// shaking is a coroutine that shakes hands, one after the other: its stack has grown for that.
// It is of the thread that made it, since a locked thread runs no others.
type shaking struct {
	h    *handshake // nil: it has none
	next func() (struct{}, bool)
	end  func()
}

func newShaking() *shaking {
	s := &shaking{}
	s.next, s.end = iter.Pull(func(yield func(struct{}) bool) {
		defer func() { // a panic goes on in the thread, which does not know this stack
			if p := recover(); p != nil {
				panic(fmt.Sprintf("%v\n%s", p, debug.Stack()))
			}
		}()
		for s.h != nil {
			s.h.conn.Handshake(func() { yield(struct{}{}) })
			s.h = nil
			yield(struct{}{})
		}
	})
	return s
}

// goOn runs the handshake until it waits for bytes, or is over.
func (s *shaking) goOn() (over bool) {
	s.next()
	return s.h == nil
}

// take is a coroutine for a handshake.
func (t *shakeThread) take(h *handshake) *shaking {
	t.underWay++
	var s *shaking
	if n := len(t.idle); n > 0 {
		s, t.idle = t.idle[n-1], t.idle[:n-1]
	} else {
		s = newShaking()
	}
	s.h = h
	return s
}

// giveBack gives one back whose handshake is over.
func (t *shakeThread) giveBack(s *shaking) {
	t.underWay--
	t.idle = append(t.idle, s)
	most := maxIdleShakings
	if t.underWay == 0 {
		most = minIdleShakings
	}
	t.endIdle(most)
}

// endIdle ends those that are idle, but for so many.
func (t *shakeThread) endIdle(most int) {
	for len(t.idle) > most {
		last := len(t.idle) - 1
		t.idle[last].end()
		t.idle[last] = nil
		t.idle = t.idle[:last]
	}
}
