package http2

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestTwoSidesTalk lets a client and a server exchange requests through pipes
// that cut bytes anywhere and hold them back, with random windows, bodies,
// trailers, resets and slow readers. After every step the invariants of check
// hold, and in the end every stream has ended once, with all its bytes unless it
// was reset.
func TestTwoSidesTalk(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		simulate(t, seed)
	}
}

// side is one end with its caller.
type side struct {
	*testing.T
	Conn
	name string
	r    *rand.Rand
	in   []byte // arrived, not consumed
	out  []byte // not yet on its way
	head message.Head

	streams map[uint32]*talk
	resets  int // that may still be made
}

// talk is what a caller knows of a stream.
type talk struct {
	id       uint32
	toSend   int // of body
	trailers bool
	began    bool // our head was sent
	sent     bool // our half is complete
	got      int
	want     int // what the other side sends
	ended    int // End, Reset
	reset    bool
	unread   int // told and not reported
}

func simulate(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	options := func() Options {
		return Options{Streams: 1 + r.IntN(20), StreamWindow: 1 + r.IntN(100_000), ConnWindow: r.IntN(200_000)}
	}
	client := &side{T: t, name: fmt.Sprintf("seed %d, client", seed), r: r, streams: map[uint32]*talk{}, resets: r.IntN(40)}
	server := &side{T: t, name: fmt.Sprintf("seed %d, server", seed), r: r, streams: map[uint32]*talk{}, resets: r.IntN(40)}
	client.Init(Client, options())
	server.Init(Server, options())
	client.out, server.out = client.AppendPreface(nil), server.AppendPreface(nil)
	requests := 1 + r.IntN(60)
	for step := 0; ; step++ {
		if step > 200_000 {
			t.Fatalf("seed %d: no end: client %d streams, server %d", seed, client.Conn.Streams(), server.Conn.Streams())
		}
		client.move(server)
		server.move(client)
		if requests > 0 && client.r.IntN(3) == 0 && client.request() {
			requests--
		}
		client.act()
		server.act()
		client.check()
		server.check()
		if requests == 0 && client.Conn.Streams() == 0 && server.Conn.Streams() == 0 &&
			len(client.in)+len(client.out)+len(server.in)+len(server.out) == 0 {
			break
		}
	}
	for _, s := range []*side{client, server} {
		s.finish()
	}
	// Every byte that was given back counts again.
	for _, pair := range [][2]*side{{client, server}, {server, client}} {
		receiver, sender := pair[0], pair[1]
		if receiver.recvWindow != sender.sendWindow {
			t.Errorf("%s: receives %d more, its peer sends %d", receiver.name, receiver.recvWindow, sender.sendWindow)
		}
		if got := receiver.recvWindow + receiver.owed; got != int32(receiver.options.ConnWindow) {
			t.Errorf("%s: window %d with what is owed, want %d", receiver.name, got, receiver.options.ConnWindow)
		}
	}
}

// move carries some bytes to the other side, which looks at them.
func (s *side) move(to *side) {
	n := min(len(s.out), s.r.IntN(1+s.r.IntN(20_000)))
	to.in = append(to.in, s.out[:n]...)
	s.out = s.out[n:]
	for {
		var ev Event
		ev, to.out = to.Next(0, to.in, &to.head, to.out)
		if ev.Kind == NeedMore {
			return
		}
		to.see(ev)
		to.in = to.in[ev.N:]
	}
}

func (s *side) see(ev Event) {
	k := s.streams[ev.Stream]
	if ev.Tag != ev.Stream && k != nil && ev.Kind != GoAway && ev.Kind != Head {
		s.Fatalf("%s: %+v has another tag", s.name, ev)
	}
	switch ev.Kind {
	case Head:
		if s.role == Server {
			k = s.newTalk(ev.Stream)
			s.Tag(ev.Stream, ev.Stream)
		}
		value, _ := s.head.Value(message.FieldETag)
		if _, err := fmt.Sscan(string(value), &k.want); err != nil {
			s.Fatalf("%s: %q", s.name, value)
		}
	case Data:
		k.got += ev.End - ev.Start
		k.unread += ev.End - ev.Start
	case End:
		k.ended++
		if k.got != k.want {
			s.Fatalf("%s: stream %d has %d bytes, want %d", s.name, k.id, k.got, k.want)
		}
	case Reset:
		if ev.Reason != NoReason {
			s.Fatalf("%s: %v", s.name, ev.Reason)
		}
		if ev.Code == RefusedStream && s.role == Client && k.want == 0 {
			k.want = -1 // more streams than the server takes; it had not said so yet
		}
		k.reset = true
	case Refused:
		if ev.Reason != TooManyStreams {
			s.Fatalf("%s: %v", s.name, ev.Reason)
		}
	case Failed:
		s.Fatalf("%s: failed: %v", s.name, ev.Reason)
	}
}

func (s *side) newTalk(id uint32) *talk {
	k := &talk{id: id, toSend: s.r.IntN(1 + s.r.IntN(100_000)), trailers: s.r.IntN(3) == 0}
	if s.r.IntN(4) == 0 {
		k.toSend = 0
	}
	s.streams[id] = k
	return k
}

// headOf is the head of what a side says: its length is in a field.
func (k *talk) headOf(s *side) *message.Out {
	o := &message.Out{Method: []byte("POST"), Target: []byte("/"), Authority: []byte("a.test"), Status: 200}
	o.Add([]byte("ETag"), fmt.Append(nil, k.toSend))
	if s.r.IntN(2) == 0 {
		o.Framing, o.Length = message.FramingLength, int64(k.toSend)
	}
	if s.r.IntN(10) == 0 {
		o.Add([]byte("x-large"), make([]byte, 0))
		for range s.r.IntN(20) {
			o.Add([]byte("x-filler"), []byte("0123456789012345678901234567890123456789"))
		}
	}
	return o
}

func (s *side) request() bool {
	k := s.newTalk(0)
	delete(s.streams, 0)
	end := k.toSend == 0 && !k.trailers
	out, id, ok := s.AppendRequest(s.out, k.headOf(s), end, s.highest+2)
	if !ok {
		return false
	}
	s.out, k.id, k.began, k.sent = out, id, true, end
	s.Tag(id, id)
	s.streams[id] = k
	return true
}

// act does a little for every stream.
func (s *side) act() {
	for id := uint32(1); id <= s.highest; id += 2 {
		k := s.streams[id]
		if k == nil || k.reset {
			continue
		}
		if k.unread > 0 && s.r.IntN(4) == 0 {
			n := 1 + s.r.IntN(k.unread)
			k.unread -= n
			s.out = s.AppendConsumed(s.out, id, n)
		}
		if s.resets > 0 && s.r.IntN(2000) == 0 && s.find(id) {
			s.resets--
			k.reset = true
			s.out = s.AppendReset(s.out, id, Cancel)
			continue
		}
		if !k.sent && s.r.IntN(3) == 0 {
			s.say(k)
		}
	}
}

func (s *side) find(id uint32) bool { return s.Conn.streams.find(id) != nil }

// say sends a part of a message.
func (s *side) say(k *talk) {
	end := k.toSend == 0 && !k.trailers
	if !k.began {
		k.began = true
		if s.r.IntN(3) == 0 {
			s.out = s.AppendResponse(s.out, k.id, &message.Out{Status: 103}, false)
		}
		s.out = s.AppendResponse(s.out, k.id, k.headOf(s), end)
		k.sent = end
		return
	}
	n := min(k.toSend, s.r.IntN(20_000))
	last := n == k.toSend
	var taken int
	s.out, taken = s.AppendData(s.out, k.id, make([]byte, n), last && !k.trailers)
	k.toSend -= taken
	switch {
	case taken < n || !last:
	case k.trailers:
		s.out = s.AppendTrailers(s.out, k.id, []message.OutField{{Name: []byte("Grpc-Status"), Value: []byte("0")}})
		k.sent = true
	default:
		k.sent = true
	}
}

// check is what holds at any time.
func (s *side) check() {
	if s.sendWindow < 0 || s.recvWindow < 0 || s.owed < 0 || s.owed >= int32(s.options.ConnWindow/2)+1 {
		s.Fatalf("%s: windows of the connection: send %d, receive %d, owed %d", s.name, s.sendWindow, s.recvWindow, s.owed)
	}
	open, held := 0, int32(0)
	for i := range s.Conn.streams.slots {
		st := &s.Conn.streams.slots[i]
		if st.id == 0 {
			continue
		}
		open++
		held += st.held
		if s.Conn.streams.find(st.id) != st {
			s.Fatalf("%s: stream %d is not found", s.name, st.id)
		}
		if st.held < 0 || st.owed < 0 || st.recvWindow > int32(max(s.options.StreamWindow, initialWindow)) {
			s.Fatalf("%s: stream %+v", s.name, *st)
		}
		if k := s.streams[st.id]; k == nil || k.reset {
			s.Fatalf("%s: stream %d is open, its caller thinks otherwise", s.name, st.id)
		}
	}
	if open != s.Conn.streams.count || open > s.options.Streams {
		s.Fatalf("%s: %d streams, counted %d", s.name, open, s.Conn.streams.count)
	}
	if total := s.recvWindow + s.owed + held; total > int32(s.options.ConnWindow) {
		s.Fatalf("%s: receives %d, owes %d, holds %d: more than the window", s.name, s.recvWindow, s.owed, held)
	}
}

// finish is what holds in the end.
func (s *side) finish() {
	for id, k := range s.streams {
		if !k.reset && (k.ended != 1 || !k.sent) {
			s.Errorf("%s: stream %d ended %d times, said all: %v", s.name, id, k.ended, k.sent)
		}
		if k.ended > 1 {
			s.Errorf("%s: stream %d ended %d times", s.name, id, k.ended)
		}
	}
}

// TestStreamTableFindsWhatIsThere compares the table with a map.
func TestStreamTableFindsWhatIsThere(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var table streams
	want := map[uint32]uint32{}
	next := uint32(1)
	for step := range 200_000 {
		if r.IntN(2) == 0 && len(want) < 200 {
			next += 2 * (1 + uint32(r.IntN(1+r.IntN(300))))
			table.add(next).tag = next * 3
			want[next] = next * 3
		} else {
			for id := range want {
				table.remove(id)
				delete(want, id)
				break
			}
		}
		if step%100 > 0 {
			continue
		}
		if table.count != len(want) {
			t.Fatalf("%d streams, want %d", table.count, len(want))
		}
		for id, tag := range want {
			if s := table.find(id); s == nil || s.tag != tag {
				t.Fatalf("stream %d: %+v", id, s)
			}
			if s := table.find(id + 2); (s != nil) != (want[id+2] != 0) {
				t.Fatalf("stream %d: %+v", id+2, s)
			}
		}
	}
}

// TestBudgetsRefill takes a budget to its end and waits.
func TestBudgetsRefill(t *testing.T) {
	for kind := range floodEnd {
		b := budgets[kind]
		var f floods
		drain := func(now int64) (n int32) {
			for f.spend(kind, now) {
				n++
			}
			return n
		}
		f.refilled = 5 * second
		if n := drain(5 * second); n != b.burst {
			t.Errorf("%v: %d at once, want %d", b.reason, n, b.burst)
		}
		if n := drain(5*second + second/2); n != 0 {
			t.Errorf("%v: %d after half a second", b.reason, n)
		}
		if n := drain(6*second + second/2); n != b.perSecond {
			t.Errorf("%v: %d after a second, want %d", b.reason, n, b.perSecond)
		}
		if n := drain(7 * second); n != b.perSecond {
			t.Errorf("%v: %d after the second, want %d", b.reason, n, b.perSecond)
		}
		f.requests, f.bytes = 3, 5<<10
		if n := drain(7 * second); n != min(3*b.perRequest+5*b.perKiB, b.burst) {
			t.Errorf("%v: %d after work", b.reason, n)
		}
		if n := drain(1e6 * second); n != b.burst {
			t.Errorf("%v: %d after long, want %d", b.reason, n, b.burst)
		}
	}
}

// TestAPeerStrainsFromHalfABudgetOnUntilItHasEarned says so of each.
func TestAPeerStrainsFromHalfABudgetOnUntilItHasEarned(t *testing.T) {
	for kind := range floodEnd {
		b := budgets[kind]
		var f floods
		for range b.burst / 2 {
			f.spend(kind, 0)
		}
		if f.halfSpent(0) {
			t.Errorf("%v: strained by half of it", b.reason)
		}
		if f.spend(kind, 0); !f.halfSpent(0) {
			t.Errorf("%v: not strained by more than half of it", b.reason)
		}
		if f.halfSpent(second) {
			t.Errorf("%v: strained after a second", b.reason)
		}
		for f.spend(kind, 0) {
		}
		if !f.halfSpent(second) && b.perSecond < b.burst/2 {
			t.Errorf("%v: not strained a second after all of it was used up", b.reason)
		}
		f.requests, f.bytes = 1000, 1000<<10
		if work := b.perRequest+b.perKiB > 0; f.halfSpent(0) == work {
			t.Errorf("%v: strained is %t after work", b.reason, !work)
		}
	}
}
