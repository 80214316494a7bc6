//go:build linux

package evloop

import (
	"cmp"
	"slices"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
)

const (
	// shedEvery is how often idle connections are looked through under pressure,
	// and shedShare the part of all that is closed each time: a loop full of idle
	// ones is rid of them in about a second, or of 20,000 of them if it has more.
	shedEvery = int64(50 * time.Millisecond)
	shedShare = 20
	// shedLook is how many descriptors are looked through in one turn: of more, that many
	// in each, and the next shedGap later at the earliest. A loop that looks through
	// hundreds of thousands, and closes one in twenty, serves nobody for half a second.
	shedLook = 4096
	shedGap  = int64(10 * time.Millisecond)
	// shedIdle is how long a connection has been idle before it makes room for
	// another one: who has come a moment ago is about to ask.
	shedIdle = int64(time.Second)
	// shedFresh is the same where memory runs short: enough for a request to arrive.
	shedFresh = int64(100 * time.Millisecond)
	// shedLeast keeps a node with few connections from shedding none.
	shedLeast = 16
)

// shedder picks the idle client connections of a loop that are closed where memory or
// descriptors run short: the longest idle of those that it looks at first.
type shedder struct {
	crowded bool  // the node is near its ceiling of clients
	again   int64 // when connections may be closed again; 0: no need
	next    int   // the index of the link that is looked at first then
}

// due says that some are to be closed now. calm: memory does not run short.
func (s *shedder) due(now int64, calm bool) bool {
	if calm && !s.crowded {
		s.again = 0
		return false
	}
	return now >= s.again
}

// pick is those that are closed.
func (s *shedder) pick(links []*link, now int64, calm bool) (idle []*downstream) {
	look, every := len(links), shedEvery
	if look > shedLook {
		every = max(every*shedLook/int64(look), shedGap)
		look = shedLook
	}
	s.again = now + every
	until := now - shedFresh
	if calm {
		until = now - shedIdle
	}
	clients, leaving := 0, 0 // and those of them that make room in a moment
	for range look {
		if s.next >= len(links) {
			s.next = 0
		}
		k := links[s.next]
		s.next++
		d := k.down
		if k.closed || d == nil {
			continue
		}
		clients++
		switch {
		case d.closing && d.since > now-shedIdle:
			leaving++
		case d.since <= until && d.idle():
			idle = append(idle, d)
		}
	}
	slices.SortFunc(idle, func(a, b *downstream) int { return cmp.Compare(a.since, b.since) })
	most := max(clients/shedShare, shedLeast)
	if calm { // only as many as are in the way
		most = max(most-leaving, 0)
	}
	return idle[:min(len(idle), most)]
}

// shed closes idle client connections where memory or descriptors run short.
func (l *Loop) shed() {
	s := &l.shedder
	s.crowded = s.crowded && l.engine.crowds(l.engine.clients())
	calm := l.engine.Pressure() == pressure.Calm
	if !s.due(l.now, calm) {
		return
	}
	idle := s.pick(l.links, l.now, calm)
	for _, d := range idle {
		l.shedDown(d)
	}
	l.stats.Add(stats.ClientsShed, uint64(len(idle)))
}

// shedDown ends an idle connection, behind what this turn had for its client. One of
// HTTP/2 may have a request on its way: its client is told that it was not taken, and
// lingers so that it can read that.
func (l *Loop) shedDown(d *downstream) {
	if d.mux != nil {
		d.answered = d.mux.out.len() == 0 // nothing but the GOAWAY is lost with it
		l.endMuxBy(d, http2.NoError)
		return
	}
	l.closeDownAfter(d)
}
