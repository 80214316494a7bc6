//go:build linux

package evloop

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// strain is a client of HTTP/2 on a loop that does not run.
type strain struct {
	t    *testing.T
	l    *Loop
	d    *downstream
	far  int
	next uint32 // stream
}

// newFar has sent its preface.
func newFar(t *testing.T) *strain {
	t.Helper()
	l := startedLoop(t)
	l.table = l.engine.live.Load()
	d, far := pairedDown(t, l)
	if err := errors.Join(unix.SetNonblock(far, true), unix.SetsockoptInt(far, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)); err != nil {
		t.Fatal(err)
	}
	all := wireBuffer(http2.Preface)
	_ = xhttp2.NewFramer(&all, nil).WriteSettings()
	s := &strain{t: t, l: l, d: d, far: far, next: 1}
	s.send(all)
	return s
}

// newStrain has used up half of a budget, and pauses.
func newStrain(t *testing.T) *strain {
	t.Helper()
	s := newFar(t)
	s.send(s.heads(12, 200))
	if s.serve(); !s.d.link.muted {
		t.Fatal("it does not strain")
	}
	s.answers()
	return s
}

// serve reads all that has come, by a loop that serves nobody else, and says in how many turns.
func (s *strain) serve() (turns int) {
	s.d.link.readable = true
	for s.l.makeReady(s.d.link); len(s.l.ready) > 0 || s.d.link.strained; turns++ {
		alone := len(s.l.ready) == 0
		s.l.takeTurns()
		s.l.takeStrained(alone)
		s.l.endTurn(s.l.now)
	}
	return turns
}

// heads are its next requests, which are refused for their fields.
func (s *strain) heads(number, fields int) []byte {
	all := headsOf(s.next, number, fields)
	s.next += 2 * uint32(number)
	return all
}

// headsOf are requests from a stream on, with so many fields of a byte each.
func headsOf(stream uint32, number, fields int) []byte {
	var all wireBuffer
	f := xhttp2.NewFramer(&all, nil)
	block := append(requestBlock("GET"), bytes.Repeat([]byte{0x90}, fields)...) // accept-encoding, by its number
	for range number {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndStream: true, EndHeaders: true})
		stream += 2
	}
	return all
}

func (s *strain) send(p []byte) {
	s.t.Helper()
	if n, err := unix.Write(s.far, p); err != nil || n < len(p) {
		s.t.Fatalf("%d of %d: %v", n, len(p), err)
	}
}

// waits is how many bytes are still to be read.
func (s *strain) waits() int {
	n, err := unix.IoctlGetInt(s.d.link.fd, unix.SIOCINQ)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// answers is how many bytes were written since the last time.
func (s *strain) answers() (all int) {
	var buf [64 << 10]byte
	for {
		n, err := unix.Read(s.far, buf[:])
		if n <= 0 || err != nil {
			return all
		}
		all += n
	}
}

// turn has it read again, if it is its turn, and says by how much less is to be read.
func (s *strain) turn(alone bool) int {
	before := s.waits()
	s.l.takeStrained(alone)
	s.l.endTurn(s.l.now)
	return before - s.waits()
}

// tick is the end of its pause.
func (s *strain) tick() {
	s.t.Helper()
	s.l.now += 2 * wheelTick
	if s.l.expire(); !s.d.link.strained {
		s.t.Fatal("its pause is not over")
	}
}

// TestWhoStrainsReadsLittleAndBehindEverybody, when the loop serves nobody else or once a millisecond,
// and its answers are written when all is read.
func TestWhoStrainsReadsLittleAndBehindEverybody(t *testing.T) {
	s := newStrain(t)
	s.send(s.heads(40, 2000))
	s.tick()
	for i, alone := range []bool{true, true, false, true} {
		if n := s.turn(alone); n > clientRead || (n > 0) != alone && s.d.link.in.len() == 0 {
			t.Fatalf("turn %d: %d bytes were read, %d are kept", i, n, s.d.link.in.len())
		}
	}
	kept, waits := s.d.link.in.len(), s.waits()
	unread := func() bool { return s.d.link.in.len() == kept && s.waits() == waits }
	if s.l.now += strainedWait - 1; s.turn(false) != 0 || !unread() {
		t.Error("it had its turn before others")
	}
	if n := s.answers(); n > 0 {
		t.Errorf("%d bytes were written though more is to be read", n)
	}
	s.l.now++
	if s.turn(false); unread() {
		t.Error("it had no turn in a millisecond")
	}
	turns := 0
	for ; s.d.link.strained && turns < 100; turns++ {
		if s.l.patience() != 0 {
			t.Fatal("the loop sleeps while a client waits for its turn")
		}
		s.turn(true)
	}
	if s.waits() > 0 || s.d.mux.paused == 0 || s.d.link.closed {
		t.Errorf("after %d turns %d bytes wait, paused since %d", turns, s.waits(), s.d.mux.paused)
	}
	if n := s.answers(); n == 0 {
		t.Error("nothing was written when all was read")
	}
}

// TestATurnOfWhoStrainsIsOneRead, also where that has no whole frame.
func TestATurnOfWhoStrainsIsOneRead(t *testing.T) {
	s := newStrain(t)
	s.send(s.heads(1, http2.MaxFrame-len(requestBlock("GET"))))
	s.send(s.heads(1, 200))
	s.tick()
	s.l.makeReady(s.d.link)
	all := s.waits()
	if s.l.takeTurns(); s.waits() < all {
		t.Errorf("it read %d bytes in a turn that is not its own", all-s.waits())
	}
	for range 2 { // each of half a frame
		if n := s.turn(true); n != clientRead || s.answers() > 0 {
			t.Errorf("%d bytes were read", n)
		}
	}
	if s.turn(true); s.waits() > 0 {
		t.Errorf("%d bytes are left", s.waits())
	}
}

// TestATrustedProxyThatStrainsHasItsTurnsAmongEverybody: requests of many wait for them. Nothing of it
// is judged before it is read either.
func TestATrustedProxyThatStrainsHasItsTurnsAmongEverybody(t *testing.T) {
	s := newStrain(t)
	s.d.mux.shared = true
	s.send(s.heads(1, 200))
	s.d.headStart = 1
	s.l.now += int64(s.d.socket.listener.Timeouts.RequestHead) + 2*wheelTick
	s.l.expire()
	if s.l.endTurn(s.l.now); s.d.link.strained || !s.d.link.ready || s.d.closing {
		t.Fatalf("behind everybody: %t, its turn is next: %t, closing: %t", s.d.link.strained, s.d.link.ready, s.d.closing)
	}
	if s.serve(); s.waits() > 0 || s.answers() == 0 || s.d.closing {
		t.Errorf("%d bytes wait, closing: %t", s.waits(), s.d.closing)
	}
}

// TestWhatIsHeldBackIsBounded: who also asks for what is answered reads some of it while more is
// to be read.
func TestWhatIsHeldBackIsBounded(t *testing.T) {
	s := newStrain(t)
	s.send(s.malformed(51)) // of 100
	for range 40 {
		s.send(append(s.heads(1, 0), s.malformed(1)...))
	}
	s.tick()
	most, before := 0, 0
	for s.d.link.strained {
		s.turn(true)
		if most = max(most, s.d.mux.out.len()); s.d.link.strained {
			before += s.answers()
		}
	}
	if most == 0 || most >= heldMost || before < heldMost {
		t.Errorf("up to %d bytes were held back, %d were read before the last turn", most, before)
	}
}

// TestFramesAreHeldBackForNoLongerThanAMillisecond where more is at hand all the time: a window
// may be among them. Nor where the client may be gone with the next turn.
func TestFramesAreHeldBackForNoLongerThanAMillisecond(t *testing.T) {
	l := startedLoop(t)
	now := l.elapsed()
	for _, c := range []struct {
		name  string
		link  link
		since int64
		bytes int
		held  bool
	}{
		{"more is at hand", link{next: true}, now + int64(time.Hour), heldMost - 1, true},
		{"for long", link{next: true}, now - heldLongest, heldMost - 1, false},
		{"as much as is held", link{next: true}, now + int64(time.Hour), heldMost, false},
		{"nothing", link{next: true}, now + int64(time.Hour), 0, false},
		{"its client has sent all", link{next: true, readHup: true}, now + int64(time.Hour), 1, false},
		{"nothing is at hand", link{}, now + int64(time.Hour), 1, false},
		{"it strains", link{strained: true}, now - int64(time.Hour), heldMost - 1, true},
		{"it strains, as much as is held", link{strained: true}, now, heldMost, false},
	} {
		f := &frames{link: &c.link, since: c.since}
		f.out.buf = make([]byte, c.bytes)
		if held := l.heldBack(f); held != c.held {
			t.Errorf("%s: held back: %t", c.name, held)
		}
	}
}

// TestWhoStrainsIsReadByALoopThatHasTime, without one that asks for events in vain until a
// millisecond is over.
func TestWhoStrainsIsReadByALoopThatHasTime(t *testing.T) {
	const free, more = 16, 60
	n, p := besidePest(t, free)
	turns := n.engine.stats.LoopCounter(0, stats.Turns)
	if _, err := p.conn.Write(headsOf(p.next, more, 1000)); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.answered(0, more); got != more {
		t.Fatalf("%d of %d were answered", got, more)
	}
	if by := n.engine.stats.LoopCounter(0, stats.Turns) - turns; by > 2*more {
		t.Errorf("the loop had %d turns for %d requests", by, more)
	}
}

// TestNothingIsJudgedThatIsNotRead has the rest of a frame there in time, and time go by.
func TestNothingIsJudgedThatIsNotRead(t *testing.T) {
	s := newStrain(t)
	whole := s.heads(1, 200)
	s.send(whole[:5])
	s.tick()
	s.turn(true)
	if s.d.headStart == 0 {
		t.Fatal("nothing is awaited")
	}
	s.send(whole[5:])
	s.tick()
	s.l.now += int64(s.d.socket.listener.Timeouts.RequestHead) + int64(time.Second)
	if s.l.expire(); s.d.closing || s.d.link.closed {
		t.Fatal("a deadline was judged before all was read that had come")
	}
	if s.turn(true); s.d.headStart != 0 || s.d.closing {
		t.Errorf("it is awaited since %d, closing: %t", s.d.headStart, s.d.closing)
	}
	s.serve()
	s.send(s.heads(1, 200)[:5])
	s.d.link.readable = true
	s.l.makeReady(s.d.link)
	s.l.takeTurns() // it strains no more
	s.l.now += int64(s.d.socket.listener.Timeouts.RequestHead) + int64(time.Second)
	s.l.expire()
	if !s.d.closing && !s.d.link.closed {
		t.Error("the deadline of a frame that does not come is not judged")
	}
}

// TestABlockIsAwaitedWhoseFirstFrameEndsATurn, though nothing more is at hand.
func TestABlockIsAwaitedWhoseFirstFrameEndsATurn(t *testing.T) {
	for pings := range muxFrames + 1 {
		s := newFar(t)
		s.serve()
		var all wireBuffer
		f := xhttp2.NewFramer(&all, nil)
		for range pings {
			_ = f.WritePing(false, [8]byte{})
		}
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("GET"), EndStream: true})
		s.send(all)
		if s.serve(); s.d.headStart == 0 {
			t.Errorf("behind %d frames: not awaited", pings)
		}
	}
}

// TestTheEndOfARequestIsHeardWhoseFrameEndsATurn: it is an event of its own, without bytes.
func TestTheEndOfARequestIsHeardWhoseFrameEndsATurn(t *testing.T) {
	for requests := range 9 {
		s := newFar(t)
		s.serve()
		s.send(s.heads(requests, 1))
		if s.serve(); s.d.mux.open > 0 {
			t.Errorf("%d requests: %d are not over", requests, s.d.mux.open)
		}
	}
}

// TestWhoSendsOnEndHasItsDeadlines: one turn behind a pause is enough for them.
func TestWhoSendsOnEndHasItsDeadlines(t *testing.T) {
	s := newStrain(t)
	s.send(s.heads(40, 2000))
	s.tick()
	if s.turn(true); !s.d.link.strained {
		t.Fatal("there is no more to read")
	}
	s.d.headStart = 1
	s.l.now += int64(s.d.socket.listener.Timeouts.RequestHead) + 2*wheelTick
	if s.l.expire(); !s.d.closing && !s.d.link.closed {
		t.Error("its deadline is not judged while more is to be read")
	}
}

// TestWhoClosedHasNoTurn, nor has what uses its memory again, and who waits behind it has.
func TestWhoClosedHasNoTurn(t *testing.T) {
	one, gone, again, two := &link{strained: true}, &link{strained: true, closed: true}, &link{}, &link{strained: true}
	s := strained{waiting: []*link{one, gone, again, two}}
	var got []*link
	for now := int64(1); ; now++ {
		k := s.take(now, true)
		if k == nil {
			break
		}
		got = append(got, k)
	}
	if !slices.Equal(got, []*link{one, two}) || len(s.waiting) > 0 || one.strained {
		t.Errorf("%d had a turn, %d wait", len(got), len(s.waiting))
	}
}

// TestLargeHeadsShareTurns: of heads of 4 KiB a turn takes fewer than of small ones.
func TestLargeHeadsShareTurns(t *testing.T) {
	s := newFar(t)
	s.send(s.heads(5, 4000))
	k := s.d.link
	k.readable = true
	s.l.makeReady(k)
	if s.l.takeTurns(); k.in.len() == 0 || !k.ready {
		t.Errorf("%d bytes are kept for the next turn, ready: %t", k.in.len(), k.ready)
	}
}

// malformed are its next requests, which have a name in capitals.
func (s *strain) malformed(number int) []byte {
	var all wireBuffer
	f := xhttp2.NewFramer(&all, nil)
	block := append(requestBlock("GET"), "\x00\x01A\x01b"...)
	for range number {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: s.next, BlockFragment: block, EndStream: true, EndHeaders: true})
		s.next += 2
	}
	return all
}

// TestWhoIsRefusedInATurnReadsOnBehindEverybody, long before he strains, and is told what came of all
// by one write. When all is read he is as he was. A trusted proxy's connection reads on among everybody.
func TestWhoIsRefusedInATurnReadsOnBehindEverybody(t *testing.T) {
	for _, shared := range []bool{false, true} {
		s := newFar(t)
		s.serve()
		s.answers()
		k := s.d.link
		s.d.mux.shared = shared
		s.send(s.malformed(10))
		k.readable = true
		s.l.makeReady(k)
		s.l.takeTurns()
		if s.l.endTurn(s.l.now); k.strained == shared || k.muted == shared || k.ready != shared || k.in.len() == 0 {
			t.Fatalf("shared %t: behind everybody %t, muted %t, ready %t, %d bytes are left", shared, k.strained, k.muted, k.ready, k.in.len())
		}
		if n := s.answers(); n > 0 {
			t.Errorf("shared %t: %d bytes were written, and more is to be read", shared, n)
		}
		if s.serve(); k.in.len() > 0 || s.answers() == 0 {
			t.Errorf("shared %t: %d bytes are left", shared, k.in.len())
		}
		if k.muted || s.d.mux.paused > 0 {
			t.Errorf("shared %t: muted %t, paused since %d", shared, k.muted, s.d.mux.paused)
		}
	}
}

// TestWhoIsRefusedNoMoreReadsOnAmongEverybody, also where he goes on sending.
func TestWhoIsRefusedNoMoreReadsOnAmongEverybody(t *testing.T) {
	s := newFar(t)
	s.serve()
	k := s.d.link
	s.send(s.malformed(requestsOfTurn))
	s.send(s.heads(40, 0))
	k.readable = true
	s.l.makeReady(k)
	s.l.takeTurns()
	if !k.strained || k.ready {
		t.Fatalf("behind everybody %t, ready %t", k.strained, k.ready)
	}
	if s.turn(true); k.strained || k.muted || !k.ready || k.in.len() == 0 {
		t.Errorf("behind everybody %t, muted %t, ready %t, %d bytes are left", k.strained, k.muted, k.ready, k.in.len())
	}
}

// TestWhoStrainsInABurstReadsTheRestBehindEverybody: it is all there already, so he does not pause.
func TestWhoStrainsInABurstReadsTheRestBehindEverybody(t *testing.T) {
	s := newFar(t)
	var all wireBuffer
	f := xhttp2.NewFramer(&all, nil)
	for range 100 { // of 128
		_ = f.WritePing(false, [8]byte{})
	}
	s.send(all)
	s.d.link.readable = true
	turns := 0
	for s.l.makeReady(s.d.link); len(s.l.ready) > 0; turns++ {
		s.l.takeTurns()
		s.l.endTurn(s.l.now)
	}
	if k := s.d.link; turns < 4 || turns > 6 || !k.strained || k.in.len() == 0 {
		t.Errorf("after %d turns: behind everybody %t, %d bytes are left", turns, k.strained, k.in.len())
	}
}

// requestsOfTurn is how many begin, or are refused, in one turn.
const requestsOfTurn = (muxFrames + muxRequest - 1) / muxRequest

// TestFewRequestsAreRefusedInOneTurn: others have theirs in between.
func TestFewRequestsAreRefusedInOneTurn(t *testing.T) {
	const requests = 12
	for _, c := range []struct {
		name   string
		fields int
		turns  int
	}{
		{"taken", 1, 1 + requests/requestsOfTurn + 1},       // the preface takes a turn, and to see that no more comes
		{"refused", 200, 1 + 1 + requests - requestsOfTurn}, // behind those of the first turn one in each behind everybody's
	} {
		s := newFar(t)
		s.send(s.heads(requests, c.fields))
		turns := s.serve()
		if s.waits() != 0 || turns != c.turns {
			t.Errorf("%d requests that are %s: %d bytes are left after %d turns, %d were to be taken", requests, c.name, s.waits(), turns, c.turns)
		}
	}
}

// TestAnEdgeIsOneTurn: who has more at hand reads it when the loop has looked for what others sent.
func TestAnEdgeIsOneTurn(t *testing.T) {
	s := newFar(t)
	s.serve()
	s.send(s.heads(8, 1))
	k := s.d.link
	k.readable = true
	s.l.turn(k)
	left := k.in.len()
	if s.l.takeTurns(); left == 0 || k.in.len() != left {
		t.Errorf("%d bytes were left, and %d behind the turns of others", left, k.in.len())
	}
	s.l.endTurn(s.l.now)
	if s.l.takeTurns(); k.in.len() >= left {
		t.Error("it had no turn in the next one of the loop")
	}
}

// TestATurnReadsOnceUnlessBodiesCome, and little, also where that is part of a record of TLS.
func TestATurnReadsOnceUnlessBodiesCome(t *testing.T) {
	l := startedLoop(t)
	s, peers := newSecured(t, l, 1)
	defer s.close()
	k, listener := s.links[0], (&node{}).listener()
	k.down = &downstream{link: k, socket: &socket{fd: -1, binding: &binding{clientele: new(clientele)}, listener: &listener}}
	l.beginMux(k.down)
	turn := func() (read int) {
		before := sysUnread(k.fd)
		k.readable = true
		l.turn(k)
		return before - sysUnread(k.fd)
	}
	all := wireBuffer(http2.Preface)
	f := xhttp2.NewFramer(&all, nil)
	_ = f.WriteSettings()
	_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: requestBlock("GET")})
	write := func() {
		if _, err := peers[0].Write(all); err != nil {
			t.Fatal(err)
		}
		all = all[:0]
	}
	write()
	turn()
	_ = f.WriteContinuation(1, false, make([]byte, 2*clientRead-100)) // one record
	write()
	for _, left := range []bool{true, false} {
		if n := turn(); n > clientRead || (sysUnread(k.fd) > 0) != left || k.broken {
			t.Errorf("%d bytes were read, %d are left", n, sysUnread(k.fd))
		}
	}
	k.down.mux.bodies = true
	_ = f.WriteContinuation(1, false, make([]byte, 2*clientRead-100))
	write()
	if n := turn(); n <= clientRead {
		t.Errorf("%d bytes of bodies were read", n)
	}
}

// TestAnUploadIsReadByAsMuchAsThereIs until a request follows.
func TestAnUploadIsReadByAsMuchAsThereIs(t *testing.T) {
	m := new(mux)
	for _, c := range []struct {
		ev     http2.Event
		bodies bool
	}{
		{http2.Event{Kind: http2.Data, N: muxBody - 1}, false},
		{http2.Event{Kind: http2.Data, N: muxBody}, true},
		{http2.Event{Kind: http2.Data, N: 1}, true},
		{http2.Event{Kind: http2.Settings, N: muxBody}, true},
		{http2.Event{Kind: http2.Head, N: muxBody}, false},
		{http2.Event{Kind: http2.Noted, N: muxBody}, false},
		{http2.Event{Kind: http2.Data, N: muxBody}, true},
		{http2.Event{Kind: http2.Refused, N: 1}, false},
	} {
		if m.notice(&c.ev); m.bodies != c.bodies {
			t.Errorf("%v, %d bytes: sends bodies: %t", c.ev.Kind, c.ev.N, m.bodies)
		}
	}
}

// TestAnEndIsReadInTheTurnOfWhatCameBeforeIt: who asks and ends has gone, and nothing is to begin for that,
// also where the end is told by TLS alone.
func TestAnEndIsReadInTheTurnOfWhatCameBeforeIt(t *testing.T) {
	s := newFar(t)
	s.serve()
	s.send(s.heads(1, 0))
	_ = unix.Shutdown(s.far, unix.SHUT_WR)
	k := s.d.link
	k.readable, k.readHup = true, true
	if s.l.turn(k); !k.closed {
		t.Error("its end is not read")
	}
	k = &link{tls: &recordLayer{end: readEnd}}
	if !k.endRead() || (&link{tls: &recordLayer{}}).endRead() || new(link).endRead() {
		t.Error("the end of TLS is not read, or one that is none")
	}
}

// TestSilenceSaysNothingOfWhoHasNoTurn: what answers the PING may be there already.
func TestSilenceSaysNothingOfWhoHasNoTurn(t *testing.T) {
	l := startedLoop(t)
	l.now += int64(time.Minute)
	ping := table.Ping{Interval: time.Second, Timeout: time.Second}
	for _, strained := range []bool{false, true} {
		f := &frames{link: &link{strained: strained}, pinged: 1}
		if dead := l.turnPing(f, ping); dead == strained {
			t.Errorf("reads behind everybody: %t, taken for dead: %t", strained, dead)
		}
	}
}
