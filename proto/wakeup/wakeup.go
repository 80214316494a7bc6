// Package wakeup is what goroutines wait for: that a time is over, or that they are told to
// look again.
//
// # Being told
//
// A Signal never says what happened, only that something has: whoever receives it looks for
// itself. So one that is sent while nobody waits is received later, those that nobody has
// received yet are one, and whoever sends never waits.
package wakeup

import (
	"context"
	"time"
)

// After waits for d; false: ctx ended before.
func After(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Closed says whether a channel on which nothing is sent has been closed. It does not wait.
func Closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Signal is a channel of one, to be received from as any channel.
type Signal chan struct{}

// NewSignal makes one that was not sent.
func NewSignal() Signal { return make(Signal, 1) }

// Send has the one who receives look again.
func (s Signal) Send() {
	select {
	case s <- struct{}{}:
	default: // it will
	}
}
