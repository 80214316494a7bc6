//go:build linux

package evloop

import (
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/ring"
)

const (
	// ringMost bounds the calls that are made by one: 32 short sends take about 100 µs, in which
	// nothing else of the process can stop this thread.
	ringMost = 32
	// worthARing is from how many calls on one for all is cheaper.
	worthARing = 2
	// ringFirst and ringLast bound the pause before a lost ring is replaced, which doubles each
	// time: the system may want memory for a moment, or for long. A try costs some 100 µs.
	ringFirst = int64(time.Second)
	ringLast  = int64(time.Minute)
)

// openRing has many calls made by one from now on, where the system lets it. The thread
// that calls is the one that will make them.
func (l *Loop) openRing() {
	if l.engine.config.SingleCalls {
		return
	}
	if err := l.newRing(); err != nil {
		l.engine.ringless.Do(func() {
			l.log.Info("each read and write is a system call of its own", "reason", err)
		})
	}
}

func (l *Loop) newRing() error {
	r, err := ring.New(ringMost)
	if err != nil {
		return err
	}
	l.ring = r
	l.ringless.end(l.now)
	return nil
}

// loseRing goes on without a ring that has failed, until there may be another.
func (l *Loop) loseRing(err error) {
	l.closeRing()
	l.ringless.begin(l.now)
	l.log.Warn("each read and write is a system call of its own for now", "error", err, "retry_in", time.Duration(l.ringless.pause))
}

// replaceRing tries to have another one. Nobody is woken for it: a loop that sleeps needs none.
func (l *Loop) replaceRing() {
	if err := l.newRing(); err != nil {
		l.ringless.goOn(l.now)
		return
	}
	l.log.Info("reads and writes of many connections are made by one system call again")
}

func (l *Loop) closeRing() {
	if l.ring != nil {
		l.ring.Close()
		l.ring = nil
	}
}

// ringless is a time without a ring, of a loop that has lost one.
type ringless struct {
	at    int64 // when another is tried; 0: there is nothing to be tried
	pause int64 // before that, or before the ring at hand was had
	since int64 // when that was
}

// begin plans the first try.
func (r *ringless) begin(now int64) {
	if now-r.since > ringLast {
		r.pause = 0 // that one was good for long enough
	}
	r.goOn(now)
}

// goOn plans another one.
func (r *ringless) goOn(now int64) {
	r.pause = min(max(2*r.pause, ringFirst), ringLast)
	r.at = now + r.pause
}

func (r *ringless) end(now int64) { r.at, r.since = 0, now }

// over says that it is time for a try.
func (r *ringless) over(now int64) bool { return r.at > 0 && now >= r.at }
