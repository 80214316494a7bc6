package session

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/tree"
)

// TestSimulationConvergesUnderLoss runs a server and a node over a stream that
// breaks, with versions that the node refuses for good, cannot apply for a
// while, holds until they are accepted, or does not have the base of. After each step the invariants of the
// package hold; when changes and losses end, the node runs what is wanted, or
// has refused it.
func TestSimulationConvergesUnderLoss(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		w := newWorld(t, seed)
		for range 400 {
			w.step()
		}
		w.settle()
	}
}

// world is one server, one node and the stream between them.
type world struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand

	// The server.
	session   Session
	wanted    tree.Version
	accepted  bool
	refused   map[tree.Version]bool // on this stream
	held      map[tree.Version]bool // on this stream
	streams   int
	revision  uint64
	inFlight  int
	toNode    []Action
	toServer  []Input
	lossyNode bool

	// The node.
	live    tree.Version
	pending tree.Version // retried locally
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), lossyNode: true}
	w.connect()
	return w
}

// refusesForGood is a property of the content, as compiling is.
func (w *world) refusesForGood(v tree.Version) bool { return v.Root[0]%5 == 0 }

// holds is a property of the content, as what it takes away is.
func (w *world) holds(v tree.Version) bool { return v.Root[0]%5 == 1 }

// accept makes what is wanted accepted.
func (w *world) accept() {
	w.accepted = true
	if !w.wanted.IsZero() {
		w.serve(Input{Kind: Want, Version: w.wanted, Accepted: true})
	}
}

func (w *world) change() {
	w.revision++
	content := binary.LittleEndian.AppendUint64(nil, w.rng.Uint64N(12))
	w.wanted = tree.Version{Epoch: 1, Revision: w.revision, Root: tree.Sum(content)}
	w.accepted = w.rng.IntN(4) == 0
	w.held = map[tree.Version]bool{} // something else was wanted in between
	in := Input{Kind: Want, Version: w.wanted, Accepted: w.accepted}
	if len(w.toNode) > 0 && w.rng.IntN(4) == 0 { // it waits, and is not sent any more
		w.toNode, w.inFlight, in.Unsent = nil, 0, true
	}
	w.serve(in)
}

// connect begins a new stream: nothing of the old one is left.
func (w *world) connect() {
	w.session.Step(Input{Kind: Disconnect})
	w.streams++
	w.session, w.refused, w.held, w.inFlight = Session{}, map[tree.Version]bool{}, map[tree.Version]bool{}, 0
	w.toNode, w.toServer = nil, nil
	if !w.wanted.IsZero() {
		w.serve(Input{Kind: Want, Version: w.wanted, Accepted: w.accepted})
	}
	w.toServer = append(w.toServer, Input{Kind: Hello, Version: w.live})
}

// serve gives the session an input and checks what it answers.
func (w *world) serve(in Input) {
	unanswered := w.session.InFlight()
	if !unanswered.IsZero() && in.Version == unanswered && (in.Kind == Ack || in.Kind == Nack) {
		w.inFlight--
		if in.Kind == Nack && in.Reason == Permanent {
			w.refused[in.Version] = true
		}
		if in.Kind == Nack && in.Reason == Hold {
			w.held[in.Version] = true
		}
	}
	a, _ := w.session.Step(in)
	if !a.Send {
		return
	}
	w.inFlight++
	switch {
	case w.inFlight != 1:
		w.t.Fatalf("seed %d: %d updates unanswered", w.seed, w.inFlight)
	case w.refused[a.Target]:
		w.t.Fatalf("seed %d: %v was refused for good and is sent again", w.seed, a.Target)
	case w.held[a.Target] && !w.accepted:
		w.t.Fatalf("seed %d: %v is held and is sent again", w.seed, a.Target)
	case a.Accepted != w.accepted:
		w.t.Fatalf("seed %d: %v is sent with accepted %v", w.seed, a.Target, a.Accepted)
	case a.Target != w.wanted:
		w.t.Fatalf("seed %d: %v is sent, %v is wanted", w.seed, a.Target, w.wanted)
	}
	w.toNode = append(w.toNode, a)
}

// receive is the node taking an update.
func (w *world) receive(a Action) {
	v := a.Target
	w.pending = tree.Version{}
	reply := Input{Kind: Ack, Version: v}
	switch {
	case !a.Base.IsZero() && a.Base != w.live.Root, w.lossyNode && !a.Base.IsZero() && w.rng.IntN(20) == 0:
		reply = Input{Kind: Nack, Version: v, Reason: BaseMismatch}
	case w.refusesForGood(v):
		reply = Input{Kind: Nack, Version: v, Reason: Permanent}
	case w.holds(v) && !a.Accepted:
		reply = Input{Kind: Nack, Version: v, Reason: Hold}
	case w.rng.IntN(5) == 0:
		w.pending = v
		reply = Input{Kind: Nack, Version: v, Reason: Local}
	default:
		w.live = v
	}
	w.toServer = append(w.toServer, reply)
}

func (w *world) step() {
	switch p := w.rng.IntN(100); {
	case p < 25:
		w.change()
	case p < 28:
		w.connect()
	case p < 29: // the node's process starts anew, with nothing
		w.live, w.pending = tree.Version{}, tree.Version{}
		w.connect()
	case p < 31: // an answer out of nowhere
		w.toServer = append(w.toServer, Input{Kind: Ack, Version: tree.Version{Epoch: 9, Revision: w.rng.Uint64N(9) + 1}})
	case p < 41:
		w.retry()
	case p < 43:
		w.accept()
	default:
		w.deliver()
	}
}

// retry is the node's own attempt at what it could not apply.
func (w *world) retry() {
	if w.pending.IsZero() {
		return
	}
	if w.rng.IntN(3) == 0 {
		w.toServer = append(w.toServer, Input{Kind: Nack, Version: w.pending, Reason: Local})
		return
	}
	w.live, w.pending = w.pending, tree.Version{}
	w.toServer = append(w.toServer, Input{Kind: Ack, Version: w.live})
}

func (w *world) deliver() {
	if len(w.toNode) > 0 && (len(w.toServer) == 0 || w.rng.IntN(2) == 0) {
		a := w.toNode[0]
		w.toNode = w.toNode[1:]
		w.receive(a)
		return
	}
	if len(w.toServer) > 0 {
		in := w.toServer[0]
		w.toServer = w.toServer[1:]
		w.serve(in)
	}
}

// settle lets everything arrive and checks where it ends.
func (w *world) settle() {
	w.change()
	w.lossyNode = false
	for n := 0; len(w.toNode)+len(w.toServer) > 0 || !w.pending.IsZero(); n++ {
		if n > 1000 {
			w.t.Fatalf("seed %d: does not come to rest", w.seed)
		}
		w.deliver()
		w.retry()
	}
	switch state := w.session.State(); {
	case state == Synced && w.live == w.wanted && w.session.Running() == w.live:
	case state == Rejected && w.refusesForGood(w.wanted) && w.live != w.wanted:
	case state == Held && w.holds(w.wanted) && !w.accepted && w.live != w.wanted:
	default:
		w.t.Fatalf("seed %d: rests in %v, wanted %v, live %v", w.seed, state, w.wanted, w.live)
	}
}
