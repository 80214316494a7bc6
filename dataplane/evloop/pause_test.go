//go:build linux

package evloop

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// pest is a client whose heads have too many fields.
type pest struct {
	t    *testing.T
	conn net.Conn
	next uint32 // stream
	in   readCounter
}

func (n *node) pest() *pest {
	c, _ := n.framesTo()
	return &pest{t: n.t, conn: c, next: 1, in: readCounter{Reader: c}}
}

// strainedPest is one that was refused so often that it pauses, and has read of each time.
func (n *node) strainedPest(times int) *pest {
	n.t.Helper()
	p := n.pest()
	for range times {
		if err := p.bother(); err != nil {
			n.t.Fatal(err)
		}
	}
	if got, _ := p.answered(0, times); got != times {
		n.t.Fatalf("%d of %d were answered", got, times)
	}
	return p
}

// besidePest is a node that answers everything, and such a client of it.
func besidePest(t *testing.T, times int) (*node, *pest) {
	t.Helper()
	n := startNode(t, 1)
	n.apply(nil, respondAll())
	return n, n.strainedPest(times)
}

// bother sends one such head by a write of its own.
func (p *pest) bother() error {
	return p.ask(append(requestBlock("GET"), bytes.Repeat([]byte{0x90}, 200)...)) // accept-encoding, by its number
}

// ask sends a request in pieces that are cut by chance.
func (p *pest) ask(block []byte, cuts ...time.Duration) error {
	var all wireBuffer
	err := xhttp2.NewFramer(&all, nil).WriteHeaders(xhttp2.HeadersFrameParam{StreamID: p.next, BlockFragment: block, EndStream: true, EndHeaders: true})
	p.next += 2
	for _, wait := range cuts {
		n := rand.IntN(len(all))
		if _, err := p.conn.Write(all[:n]); err != nil {
			return err
		}
		all = all[n:]
		<-time.After(wait)
	}
	if err == nil {
		_, err = p.conn.Write(all)
	}
	return err
}

// answered reads until so many requests have been answered with this status, or reset;
// 0: all that comes. It says how many were, and how often there was something to read.
func (p *pest) answered(status byte, most int) (answers, reads int) {
	before := p.in.reads
	f := xhttp2.NewFramer(nil, &p.in)
	for most == 0 || answers < most {
		frame, err := f.ReadFrame()
		if err != nil {
			break
		}
		switch frame := frame.(type) {
		case *xhttp2.HeadersFrame:
			if block := frame.HeaderBlockFragment(); status == 0 || block[0] == status {
				answers++
			}
		case *xhttp2.RSTStreamFrame:
			if status == 0 {
				answers++
			}
		}
	}
	return answers, p.in.reads - before
}

// readCounter counts reads, which take as much as is there.
type readCounter struct {
	io.Reader
	reads int
	rest  []byte
}

func (r *readCounter) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		buf := make([]byte, 64<<10)
		n, err := r.Reader.Read(buf)
		if err != nil {
			return n, err
		}
		r.reads++
		r.rest = buf[:n]
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// TestAClientThatIsRefusedAgainAndAgainIsReadSeldom sends heads that are refused, one by
// one: what they cost is bounded by time and not by how many writes they came in.
func TestAClientThatIsRefusedAgainAndAgainIsReadSeldom(t *testing.T) {
	const free, more = 16, 80
	n, p := besidePest(t, free)
	turns := n.engine.stats.LoopCounter(0, stats.Turns)
	begin := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	failed := make(chan error, 1)
	go func() {
		for range more {
			if err := p.bother(); err != nil {
				failed <- err
				break
			}
			<-tick.C
		}
		close(failed)
	}()
	got, reads := p.answered(0, more)
	took := time.Since(begin)
	if err := <-failed; err != nil || got != more {
		t.Fatalf("%d of %d were answered: %v", got, more, err)
	}
	// Of each tick one turn that reads, one that looks whether more came, and those that
	// go on with what it read: one for each.
	ticks := int(took/wheelTick) + 2
	if most := 2 * ticks; reads > most {
		t.Errorf("answers came in %d pieces within %s, at most %d are expected", reads, took, most)
	}
	if by, most := int(n.engine.stats.LoopCounter(0, stats.Turns)-turns), more+3*ticks; by > most {
		t.Errorf("the loop had %d turns within %s, at most %d are expected", by, took, most)
	}
	t.Logf("%d reads, %d turns, %s", reads, n.engine.stats.LoopCounter(0, stats.Turns)-turns, took)
}

// respondAll answers everything with 200.
func respondAll() *table.Route {
	return &table.Route{
		Name: "all", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond,
		Respond: &table.Respond{Status: 200, Body: []byte("hello")},
	}
}

// TestNoByteIsLostOfAClientThatPauses has one ask for what is answered, in pieces and
// with breaks of all lengths, while it goes on with what is refused.
func TestNoByteIsLostOfAClientThatPauses(t *testing.T) {
	const rounds = 40
	_, p := besidePest(t, 12)
	_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for i := range rounds {
		breaks := make([]time.Duration, rand.IntN(3))
		for j := range breaks {
			breaks[j] = time.Duration(rand.Int64N(int64(2 * wheelTick)))
		}
		if i%2 == 0 {
			if err := p.bother(); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.ask(requestBlock("GET"), breaks...); err != nil {
			t.Fatal(err)
		}
		if got, _ := p.answered(0x88, 1); got != 1 { // :status 200
			t.Fatalf("request %d was not answered", i)
		}
	}
}

// TestAClientThatPausesDelaysNoOther has another one ask meanwhile.
func TestAClientThatPausesDelaysNoOther(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, respondAll())
	p := n.pest()
	go p.answered(0, 0)
	client := n.h2()
	n.must(client)
	var took []time.Duration
	for range 90 {
		if err := p.bother(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		n.must(client)
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	// On a busy machine any of them may have to wait, but where one waits for a tick of the
	// wheel, so do nearly all.
	if quick := took[len(took)/10]; quick > wheelTick/2 {
		t.Errorf("nine of ten others waited for more than %s", quick)
	}
}

// TestAClientThatPausesHasItsDeadlines has a body that does not come, while the
// connection goes on with what is refused.
func TestAClientThatPausesHasItsDeadlines(t *testing.T) {
	const short = 200 * time.Millisecond
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.Timeouts.StreamIdle = short }, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))))
	p := n.strainedPest(12)
	post := p.next
	p.next += 2
	f := xhttp2.NewFramer(p.conn, &p.in)
	begin := time.Now()
	if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: post, BlockFragment: requestBlock("POST"), EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range 80 { // more would end the connection
			if done.Load() || p.bother() != nil {
				return
			}
			<-tick.C
		}
	}()
	defer done.Store(true)
	_ = p.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if frame.Header().StreamID == post {
			break // 408
		}
	}
	if took := time.Since(begin); took < short {
		t.Errorf("it took %s", took)
	}
}

// TestAClientThatPausesAndFallsSilentIsHeardAgain, by the clock of a loop that does not run: at the
// first tick at which nothing has come its bytes make edges again, until it is read the next time.
func TestAClientThatPausesAndFallsSilentIsHeardAgain(t *testing.T) {
	s := newFar(t)
	l, d := s.l, s.d
	k := d.link
	bother := func(times int) { s.send(s.heads(times, 200)) }
	edges := func() (told int) { // of bytes; it tells of room to write as ever
		t.Helper()
		events, err := l.poller.Wait(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if ev.Readable {
				told++
			}
		}
		return told
	}
	bother(12)
	for range 2 {
		if edges() == 0 {
			t.Fatal("nobody tells that something has come")
		}
		s.serve()
		if !k.muted || d.mux.paused == 0 {
			t.Fatalf("muted %t, paused since %d", k.muted, d.mux.paused)
		}
		bother(1)
		if got := edges(); got > 0 {
			t.Errorf("%d edges during a pause", got)
		}
		for look, muted := range []bool{true, false} { // what came is read at the first
			l.now += 2 * wheelTick
			for l.expire(); k.strained; {
				l.takeStrained(true)
			}
			if k.closed || k.muted != muted || (d.mux.paused > 0) != muted {
				t.Fatalf("after look %d: closed %t, muted %t, paused since %d", look, k.closed, k.muted, d.mux.paused)
			}
			l.endTurn(l.now)
		}
		bother(1)
	}
}

// TestAClientThatLingersDuringAPauseIsReadByEachTick until its time is over: what nobody reads would
// have the kernel reset the connection, and its client may not have read the GOAWAY.
func TestAClientThatLingersDuringAPauseIsReadByEachTick(t *testing.T) {
	l := startedLoop(t)
	d, far := pairedDown(t, l)
	k := d.link
	d.mux = &mux{frames: frames{link: k}, of: d}
	if !l.mute(k) {
		t.Fatal("it is not muted")
	}
	d.refused = true // it may send more
	l.closeDownAfter(d)
	ends := l.now + lingerTime
	more := []byte("more")
	for i := 1; i <= 3; i++ {
		if _, err := unix.Write(far, more); err != nil {
			t.Fatal(err)
		}
		l.now += 2 * wheelTick
		l.expire()
		if l.takeStrained(true); k.closed || d.lingered != i*len(more) {
			t.Fatalf("at tick %d: closed %t, %d bytes were read", i, k.closed, d.lingered)
		}
	}
	if _, err := unix.Write(far, make([]byte, clientRead+1)); err != nil {
		t.Fatal(err)
	}
	before := d.lingered
	l.now += 2 * wheelTick
	l.expire()
	for _, want := range []int{clientRead, 1} {
		l.takeStrained(true)
		if got := d.lingered - before; got != want {
			t.Errorf("%d bytes were thrown away in one turn, %d were to be", got, want)
		}
		before = d.lingered
	}
	l.now = ends - 1
	if l.expire(); k.closed {
		t.Error("closed before its time")
	}
	l.now += 2 * wheelTick
	if l.expire(); !k.closed {
		t.Error("kept though its time is over")
	}
}

// TestAFloodThatPausesIsToldItsEnd goes on after it.
func TestAFloodThatPausesIsToldItsEnd(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, respondAll())
	c, f := n.framesTo()
	p := &pest{t: t, conn: c, next: 1}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range 5000 {
			if p.bother() != nil {
				return
			}
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	code := -1
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			break
		}
		if g, ok := frame.(*xhttp2.GoAwayFrame); ok {
			code = int(g.ErrCode)
		}
	}
	if code != int(xhttp2.ErrCodeEnhanceYourCalm) {
		t.Errorf("ended with %d", code)
	}
	c.Close()
	<-ended
	eventually(t, "no connections", func() bool { return clientsOpen(n) == 0 })
	if got := n.engine.stats.RefusalHTTP2(uint8(http2.ErrorFlood)); got != 1 {
		t.Errorf("counted %d times", got)
	}
}
