package stream

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/controlplane/publish"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/proxyfleet/proxyfleet/proto/wakeup"
)

const (
	// partBytes bounds the resources of one part; a resource has at most 256 KiB.
	partBytes = 1 << 20
	// maxEncodings and maxEncodingBytes bound the encodings kept: a base for each
	// of the last versions is more than a fleet in motion needs.
	maxEncodings     = 16
	maxEncodingBytes = 256 << 20
	// encodingLife is how long an encoding is kept that nobody asks for.
	encodingLife = 30 * time.Second
)

// encoded is an Update, ready to be sent to any number of nodes.
type encoded struct {
	parts       []prepared
	configBytes int // canonical bytes of resources in all parts
	bytes       int
}

// encodingKey says what an encoding is for. A zero base is a whole configuration.
type encodingKey struct {
	base     tree.Hash
	target   tree.Version
	accepted bool // the target's epoch
}

// slot is an encoding that is kept, or is being made.
type slot struct {
	key   encodingKey
	ready chan struct{} // closed when value is set
	value *encoded
	used  time.Time // guarded by encoder.mu
}

// encoder encodes each Update once.
type encoder struct {
	publisher Publisher
	now       func() time.Time
	counts    *counters

	mu    sync.Mutex
	slots []*slot // guarded by mu; last used first
}

func newEncoder(p Publisher, now func() time.Time, counts *counters) *encoder {
	return &encoder{publisher: p, now: now, counts: counts}
}

// plan says whether the Update can be a delta: then it gives the base's tree.
func (e *encoder) plan(ctx context.Context, base tree.Hash, target publish.Published) (tree.Tree, bool) {
	switch {
	case base.IsZero():
		return tree.Tree{}, false
	case base == target.Root:
		return target.Tree, true
	}
	return e.publisher.Base(ctx, base)
}

// delta is the Update from a tree to the target.
func (e *encoder) delta(base tree.Tree, target publish.Published) *encoded {
	root := base.Root()
	return e.get(encodingKey{base: root, target: target.Version, accepted: target.Accepted}, func() *encoded {
		upserts, removed := tree.Diff(base, target.Tree)
		return encode(root[:], target, slices.Values(upserts), removed)
	})
}

// whole is the Update from nothing to the target.
func (e *encoder) whole(target publish.Published) *encoded {
	return e.get(encodingKey{target: target.Version, accepted: target.Accepted}, func() *encoded {
		return encode(nil, target, target.Tree.All(), nil)
	})
}

// get makes an encoding, or waits for the one that makes it.
func (e *encoder) get(key encodingKey, make func() *encoded) *encoded {
	s, mine := e.slot(key)
	if !mine {
		<-s.ready
		return s.value
	}
	e.counts.encodings.Add(1)
	s.value = make()
	close(s.ready)
	e.trim()
	return s.value
}

func (e *encoder) slot(key encodingKey) (s *slot, mine bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if i := slices.IndexFunc(e.slots, func(s *slot) bool { return s.key == key }); i >= 0 {
		s = e.slots[i]
		e.slots = slices.Insert(slices.Delete(e.slots, i, i+1), 0, s)
	} else {
		mine = true
		s = &slot{key: key, ready: make(chan struct{})}
		e.slots = slices.Insert(e.slots, 0, s)
	}
	s.used = e.now()
	return s, mine
}

// trim drops what goes over the bounds, last used last. What is being sent stays
// in memory until it is sent.
func (e *encoder) trim() {
	e.mu.Lock()
	defer e.mu.Unlock()
	bytes := 0
	for i, s := range e.slots {
		if wakeup.Closed(s.ready) {
			bytes += s.value.bytes
		}
		if i > 0 && (i >= maxEncodings || bytes > maxEncodingBytes) {
			clear(e.slots[i:])
			e.slots = e.slots[:i]
			return
		}
	}
}

// forget drops what nobody asked for lately.
func (e *encoder) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	limit := e.now().Add(-encodingLife)
	e.slots = slices.DeleteFunc(e.slots, func(s *slot) bool { return wakeup.Closed(s.ready) && s.used.Before(limit) })
}

// encode cuts an Update into parts. A nil base makes it a whole configuration.
func encode(base []byte, target publish.Published, upserts iter.Seq[tree.Leaf], removed []tree.Key) *encoded {
	w := partWriter{base: base, target: target.Version, accepted: target.Accepted, out: &encoded{}}
	w.begin()
	for _, k := range removed {
		w.room(len(k.Kind) + len(k.Name))
		w.part.Removed = append(w.part.Removed, &fleetv1.ResourceKey{Kind: k.Kind, Name: k.Name})
	}
	for l := range upserts {
		w.room(len(l.Bytes))
		w.part.Upserts = append(w.part.Upserts, l.Bytes)
		w.out.configBytes += len(l.Bytes)
	}
	w.flush(true)
	return w.out
}

// partWriter fills parts one after another.
type partWriter struct {
	base     []byte
	target   tree.Version
	accepted bool
	out      *encoded
	part     *fleetv1.Update
	size     int
}

func (w *partWriter) begin() {
	w.size = 0
	w.part = &fleetv1.Update{
		Base:          w.base,
		Target:        w.target.Proto(),
		Part:          uint32(len(w.out.parts)),
		EpochAccepted: w.accepted,
	}
}

// room begins another part if n more bytes do not fit.
func (w *partWriter) room(n int) {
	if w.size > 0 && w.size+n > partBytes {
		w.flush(false)
		w.begin()
	}
	w.size += n
}

func (w *partWriter) flush(last bool) {
	w.part.Last = last
	b := prepare(&fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_Update{Update: w.part}})
	w.out.parts = append(w.out.parts, b)
	w.out.bytes += len(b)
}

// fleetMessage is the last FleetState that was sent, encoded once for all nodes.
type fleetMessage struct {
	mu      sync.Mutex
	state   *fleetv1.FleetState // guarded by mu
	message prepared            // guarded by mu
}

// of is the state as a message.
func (f *fleetMessage) of(state *fleetv1.FleetState) prepared {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.state != state {
		f.state, f.message = state, prepare(&fleetv1.ServerMessage{Message: &fleetv1.ServerMessage_FleetState{FleetState: state}})
	}
	return f.message
}

// prepare encodes a message of ours. It cannot fail: names and labels are UTF-8,
// as nodes and the store were held to, and all else is bytes and numbers.
func prepare(m *fleetv1.ServerMessage) prepared {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("sync stream: encode: %v", err))
	}
	return b
}
