//go:build linux

package evloop

import "github.com/proxyfleet/proxyfleet/dataplane/ring"

const (
	// ringMost bounds the calls that are made by one: 32 short sends take about 100 µs, in which
	// nothing else of the process can stop this thread.
	ringMost = 32
	// worthARing is from how many calls on one for all is cheaper.
	worthARing = 2
)

// openRing has many calls made by one from now on, where the system lets it. The thread
// that calls is the one that will make them.
func (l *Loop) openRing() {
	if l.engine.config.SingleCalls {
		return
	}
	r, err := ring.New(ringMost)
	if err != nil {
		l.engine.ringless.Do(func() {
			l.log.Info("each read and write is a system call of its own", "reason", err)
		})
		return
	}
	l.ring = r
}

// loseRing goes on without a ring that has failed.
func (l *Loop) loseRing(err error) {
	l.log.Warn("each read and write is a system call of its own from now on", "error", err)
	l.closeRing()
}

func (l *Loop) closeRing() {
	if l.ring != nil {
		l.ring.Close()
		l.ring = nil
	}
}
