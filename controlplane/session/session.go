package session

import "github.com/proxyfleet/proxyfleet/proto/tree"

// State is where a subscription stands.
type State uint8

// The states of a Session.
const (
	// AwaitingHello: the node has not spoken yet.
	AwaitingHello State = iota
	// Synced: the node runs what is wanted, or nothing is wanted yet.
	Synced
	// InFlight: an update is unanswered.
	InFlight
	// Rejected: the node refused the wanted version for good. Only another
	// wanted version ends this state.
	Rejected
	// Retrying: the node could not apply the wanted version locally and tries
	// again by itself.
	Retrying
	// Held: the node holds the wanted version, which begins an epoch. Another
	// wanted version or the epoch's acceptance ends this state.
	Held
	// Closed: the stream has ended.
	Closed
)

var stateNames = [...]string{"awaiting-hello", "synced", "in-flight", "rejected", "retrying", "held", "closed"}

// String is the state's name in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// InputKind tells what happened.
type InputKind uint8

// The kinds of Input.
const (
	// Hello: the node's first message; Version is what it runs, or zero.
	Hello InputKind = iota + 1
	// Want: Version is wanted of the node from now on; Accepted says whether its
	// epoch is.
	Want
	// Ack: the node serves Version.
	Ack
	// Nack: the node refuses Version; Reason says how.
	Nack
	// Disconnect: the stream ended.
	Disconnect
)

// Reason is the kind of a refusal.
type Reason uint8

// The reasons of a Nack.
const (
	// Permanent: this version will never work on the node. A reason that is not
	// known counts as this one: it must never cause a resend.
	Permanent Reason = iota
	// Local: the node tries again by itself.
	Local
	// BaseMismatch: the node does not have the base of the delta.
	BaseMismatch
	// Hold: the node holds the version, by which it would lose too much, until
	// its epoch is accepted.
	Hold
)

// Input is one thing that happened.
type Input struct {
	Kind     InputKind
	Version  tree.Version
	Reason   Reason // of a Nack
	Accepted bool   // of a Want: the version's epoch is accepted
	// Unsent of a Want: the update in flight waits, and nothing of it was sent.
	Unsent bool
}

// Action is what to do after an Input: send the update from Base to Target, or
// nothing if Send is false. A zero Base asks for the whole configuration; the
// driver may always send the whole when it no longer has the base.
type Action struct {
	Send     bool
	Base     tree.Hash
	Target   tree.Version
	Accepted bool // the target's epoch is accepted
}

// Outcome says how an Input was taken.
type Outcome uint8

// The outcomes of Step.
const (
	// Taken: the input was expected.
	Taken Outcome = iota
	// Ignored: an answer for a version that is not expected, or a second Hello.
	Ignored
)

// maxRefused bounds the versions remembered as refused. Wanted versions only go
// back and forth between a baseline and a candidate, so a few are enough; what
// falls out would at worst be refused once more.
const maxRefused = 16

// Session is one node's subscription. The zero value awaits the node's Hello.
type Session struct {
	state   State
	running tree.Version // what the node serves, as far as it said
	wanted  tree.Version // the newest
	// accepted is of the epoch of wanted.
	accepted bool

	inFlight     tree.Version // unanswered, while state is InFlight
	sentAccepted bool         // inFlight was sent as of an accepted epoch
	whole        bool         // inFlight was sent again as a whole, after a mismatch
	retrying     tree.Version // the node tries it by itself; zero: none
	held         tree.Version // the node holds it; zero: none

	refused []tree.Version // for good, oldest first, at most maxRefused
}

// State is where the subscription stands.
func (s *Session) State() State { return s.state }

// Running is what the node serves, by its Hello and Acks.
func (s *Session) Running() tree.Version { return s.running }

// Wanted is the newest version that is wanted of the node.
func (s *Session) Wanted() tree.Version { return s.wanted }

// InFlight is the unanswered version, or zero.
func (s *Session) InFlight() tree.Version { return s.inFlight }

// Step takes one input. All transitions are here and in the functions below.
func (s *Session) Step(in Input) (Action, Outcome) {
	if s.state == Closed {
		return s.ignore()
	}
	switch in.Kind {
	case Hello:
		return s.hello(in.Version)
	case Want:
		return s.want(in.Version, in.Accepted, in.Unsent)
	case Ack:
		return s.ack(in.Version)
	case Nack:
		return s.nack(in.Version, in.Reason)
	case Disconnect:
		s.state = Closed
		s.inFlight, s.retrying, s.held = tree.Version{}, tree.Version{}, tree.Version{}
		return Action{}, Taken
	}
	return s.ignore()
}

func (s *Session) hello(running tree.Version) (Action, Outcome) {
	if s.state != AwaitingHello {
		return s.ignore()
	}
	s.running = running
	return s.next(), Taken
}

func (s *Session) want(v tree.Version, accepted, unsent bool) (Action, Outcome) {
	s.wanted, s.accepted = v, accepted
	switch {
	case s.state == AwaitingHello || s.state == InFlight && !unsent:
		return Action{}, Taken
	case s.state == InFlight && s.whole:
		return s.resend(), Taken
	}
	return s.next(), Taken
}

func (s *Session) ack(v tree.Version) (Action, Outcome) {
	switch {
	case s.state == AwaitingHello || v.IsZero():
		return s.ignore()
	case s.state == InFlight && v == s.inFlight:
		s.running, s.retrying = v, tree.Version{}
		return s.next(), Taken
	case v == s.retrying:
		// The node's own retry worked, maybe while a newer update is on its way.
		s.running, s.retrying = v, tree.Version{}
		if s.state == InFlight {
			return Action{}, Taken
		}
		return s.next(), Taken
	}
	return s.ignore()
}

func (s *Session) nack(v tree.Version, reason Reason) (Action, Outcome) {
	switch {
	case s.state == AwaitingHello || v.IsZero():
		return s.ignore()
	case s.state == InFlight && v == s.inFlight:
		return s.nackInFlight(v, reason), Taken
	case v == s.retrying && reason != BaseMismatch:
		if reason == Local {
			return Action{}, Taken
		}
		s.refuse(v)
		s.retrying = tree.Version{}
		if s.state == InFlight {
			return Action{}, Taken
		}
		return s.next(), Taken
	}
	return s.ignore()
}

// nackInFlight takes the refusal of the unanswered version. Whatever the node
// retried before was given up for this one.
func (s *Session) nackInFlight(v tree.Version, reason Reason) Action {
	s.retrying = tree.Version{}
	switch reason {
	case Local:
		s.retrying = v
		return s.next()
	case Hold:
		if s.sentAccepted {
			s.refuse(v) // or it would go round for ever
		}
		s.held = v
		return s.next()
	case BaseMismatch:
		if s.whole {
			// Even the whole does not give what the version says to be.
			s.refuse(v)
			return s.next()
		}
		return s.resend()
	default:
		s.refuse(v)
		return s.next()
	}
}

// next decides what follows when nothing is unanswered.
func (s *Session) next() Action {
	s.inFlight, s.whole = tree.Version{}, false
	switch {
	case s.wanted.IsZero() || s.wanted == s.running:
		s.state = Synced
	case s.isRefused(s.wanted):
		s.state = Rejected
	case s.wanted == s.retrying:
		s.state = Retrying
	case s.wanted == s.held && !s.accepted:
		s.state = Held
	default:
		return s.send(s.running.Root, s.wanted)
	}
	return Action{}
}

func (s *Session) send(base tree.Hash, target tree.Version) Action {
	s.state, s.inFlight, s.whole = InFlight, target, false
	s.sentAccepted = s.accepted
	return Action{Send: true, Base: base, Target: target, Accepted: s.accepted}
}

// resend sends what is wanted as a whole. What the node runs is not what we think, so even a
// wanted version that equals it is sent, unless it was refused.
func (s *Session) resend() Action {
	if s.wanted.IsZero() || s.isRefused(s.wanted) {
		return s.next()
	}
	a := s.send(tree.Hash{}, s.wanted)
	s.whole = true
	return a
}

func (s *Session) refuse(v tree.Version) {
	if s.isRefused(v) {
		return
	}
	if len(s.refused) == maxRefused {
		s.refused = append(s.refused[:0], s.refused[1:]...)
	}
	s.refused = append(s.refused, v)
}

func (s *Session) isRefused(v tree.Version) bool {
	for _, r := range s.refused {
		if r == v {
			return true
		}
	}
	return false
}

func (s *Session) ignore() (Action, Outcome) {
	return Action{}, Ignored
}
