package stream

import (
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	"github.com/proxyfleet/proxyfleet/controlplane/session"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// EventKind tells what happened to a node.
type EventKind uint8

// The kinds of events.
const (
	Connected EventKind = iota + 1
	Disconnected
	Acked
	Nacked
	Drifted
)

// Event is one thing that happened to a node.
type Event struct {
	Kind     EventKind
	Node     string
	Time     time.Time
	Version  tree.Version       // running, or the one answered
	Problems []resource.Problem // of Nacked
	Err      error              // of Disconnected; nil: in good order
}

func (s *Server) event(e Event) {
	e.Time = s.c.Now()
	s.c.OnEvent(e)
}

// Counters are totals since the process started, and what is true at this moment.
type Counters struct {
	Connected      uint64 // streams admitted
	Refused        uint64 // streams refused
	Updates        uint64 // begun
	Wholes         uint64 // of these, whole configurations
	Parts          uint64 // messages of updates sent
	ConfigBytes    uint64 // canonical bytes of resources sent
	WireBytes      uint64 // bytes of update messages sent
	Encodings      uint64 // updates encoded; each serves any number of nodes
	Acks           uint64
	NacksPermanent uint64
	NacksLocal     uint64
	NacksMismatch  uint64
	NacksHeld      uint64
	ForeignAnswers uint64 // answers that nobody waited for
	Drifts         uint64
	WholesUnderWay int // now
	NodesKnown     int // now
	NodesConnected int // now
	// Answer is from the last part sent to the Ack; Spread from a version being
	// wanted to the Ack of each node that was connected then.
	Answer publish.LatencySnapshot
	Spread publish.LatencySnapshot
}

type counters struct {
	connected, refused, updates, wholes, parts, configBytes, wireBytes, encodings atomic.Uint64
	acks, permanent, local, mismatch, held, foreign, drifts                       atomic.Uint64

	answer, spread publish.Latency
}

func (c *counters) nack(r session.Reason) {
	switch r {
	case session.Local:
		c.local.Add(1)
	case session.BaseMismatch:
		c.mismatch.Add(1)
	case session.Hold:
		c.held.Add(1)
	default:
		c.permanent.Add(1)
	}
}

// Counters are the totals so far.
func (s *Server) Counters() Counters {
	c := &s.counts
	known, connected := s.nodes.Size()
	return Counters{
		Connected: c.connected.Load(), Refused: c.refused.Load(),
		Updates: c.updates.Load(), Wholes: c.wholes.Load(), Parts: c.parts.Load(),
		ConfigBytes: c.configBytes.Load(), WireBytes: c.wireBytes.Load(), Encodings: c.encodings.Load(),
		Acks: c.acks.Load(), NacksPermanent: c.permanent.Load(), NacksLocal: c.local.Load(),
		NacksMismatch: c.mismatch.Load(), NacksHeld: c.held.Load(), ForeignAnswers: c.foreign.Load(), Drifts: c.drifts.Load(),
		WholesUnderWay: len(s.whole) + len(s.slow), NodesKnown: known, NodesConnected: connected,
		Answer: c.answer.Snapshot(), Spread: c.spread.Snapshot(),
	}
}
