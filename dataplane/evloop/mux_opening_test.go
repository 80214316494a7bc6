//go:build linux

package evloop

import (
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
)

// TestWindowsThatOpenTogetherAreUsedTogether: what waits on all streams goes out once for the frames of a
// turn, and not for each that opens the windows by a byte (CVE-2019-9511).
func TestWindowsThatOpenTogetherAreUsedTogether(t *testing.T) {
	const streams, steps = 10, 12
	n := startNode(t, 1)
	n.apply(nil, respond(strings.Repeat("x", 1000)))
	conn, f := n.framesTo(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
	for i := range uint32(streams) {
		_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1 + 2*i, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true})
	}
	for heads := 0; heads < streams; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := frame.(*xhttp2.HeadersFrame); ok {
			heads++
		}
	}
	var all wireBuffer
	g := xhttp2.NewFramer(&all, nil)
	for i := range uint32(steps) {
		_ = g.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 + i})
	}
	_, _ = conn.Write(all)
	frames, bytes := 0, 0
	for bytes < streams*steps {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if d, ok := frame.(*xhttp2.DataFrame); ok {
			frames++
			bytes += len(d.Data())
		}
	}
	if frames != streams {
		t.Errorf("%d bytes of %d streams came in %d frames", bytes, streams, frames)
	}
}

// TestFewSharesAreSentInOneTurn where windows open for many answers: others have theirs in between.
func TestFewSharesAreSentInOneTurn(t *testing.T) {
	const requests = 3*muxShares + 1
	s := newFar(t)
	f := xhttp2.NewFramer(farWriter{s}, nil)
	_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
	s.send(s.heads(requests, 1))
	if s.serve(); s.d.mux.blocked != requests {
		t.Fatalf("%d answers wait", s.d.mux.blocked)
	}
	_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 20})
	s.d.link.readable = true
	s.l.makeReady(s.d.link)
	for wait := requests - muxShares; wait > -muxShares; wait -= muxShares {
		s.l.takeTurns()
		if s.l.endTurn(s.l.now); s.d.mux.blocked != max(wait, 0) {
			t.Fatalf("%d answers wait, %d were to", s.d.mux.blocked, max(wait, 0))
		}
	}
	if len(s.l.ready) > 0 {
		t.Error("it has another turn for nothing")
	}
}

// TestTheLastShareOfATurnMayEndTheConnection of a client that strains, was told to leave, and is gone.
func TestTheLastShareOfATurnMayEndTheConnection(t *testing.T) {
	s := newFar(t)
	f := xhttp2.NewFramer(farWriter{s}, nil)
	_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
	s.send(s.heads(muxShares+1, 1))
	s.serve()
	_ = f.WriteRSTStream(s.next-2, xhttp2.ErrCodeCancel)
	pings := func(n int) {
		for range n {
			_ = f.WritePing(false, [8]byte{})
		}
	}
	pings(70) // of 128
	if s.serve(); s.d.mux.blocked != muxShares || len(s.d.mux.subs.all) <= muxShares || s.d.mux.paused == 0 {
		t.Fatalf("%d answers wait; paused since %d", s.d.mux.blocked, s.d.mux.paused)
	}
	_ = f.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 20})
	pings(strainedFrames)
	s.tick()
	k := s.d.link
	s.d.mux.left, k.readHup = true, true
	if s.l.takeStrained(true); !k.closed {
		t.Error("it is not closed")
	}
}

// farWriter is what a client writes to.
type farWriter struct{ s *strain }

func (w farWriter) Write(p []byte) (int, error) {
	w.s.send(p)
	return len(p), nil
}
