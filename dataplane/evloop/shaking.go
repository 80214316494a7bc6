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
	minIdleShakings = 1
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

// shakings are the coroutines of one thread, which alone touches them.
type shakings struct {
	underWay int // have a handshake
	idle     []*shaking
}

// goOn has a handshake of the thread compute until it waits for bytes, or is over.
func (s *shakings) goOn(h *handshake) {
	if h.shaking == nil {
		h.shaking = s.take(h)
	}
	if over := h.shaking.goOn(); over {
		s.giveBack(h.shaking)
		h.shaking = nil
	}
}

// take is a coroutine for a handshake.
func (s *shakings) take(h *handshake) *shaking {
	s.underWay++
	var c *shaking
	if n := len(s.idle); n > 0 {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		c = newShaking()
	}
	c.h = h
	return c
}

// giveBack gives one back whose handshake is over.
func (s *shakings) giveBack(c *shaking) {
	s.underWay--
	s.idle = append(s.idle, c)
	most := maxIdleShakings
	if s.underWay == 0 {
		most = minIdleShakings
	}
	s.endIdle(most)
}

// endIdle ends those that are idle, but for so many.
func (s *shakings) endIdle(most int) {
	for len(s.idle) > most {
		last := len(s.idle) - 1
		s.idle[last].end()
		s.idle[last] = nil
		s.idle = s.idle[:last]
	}
}
