package http2_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// peer is the other end of a Conn, whose time stands still: nothing is earned by it.
type peer struct {
	*testing.T
	http2.Conn
	*xhttp2.Framer
	wire bytes.Buffer
	head message.Head
	out  []byte
}

func newPeer(t *testing.T, role http2.Role, shared bool) *peer {
	p := &peer{T: t}
	p.Framer = xhttp2.NewFramer(&p.wire, nil)
	p.AllowIllegalWrites = true
	p.Init(role, http2.Options{Shared: shared})
	p.out = p.AppendPreface(p.out)
	if role == http2.Server {
		p.wire.WriteString(http2.Preface)
	}
	_ = p.WriteSettings()
	_ = p.WriteSettingsAck()
	p.feed()
	return p
}

// feed gives the Conn what was written, and says why it failed if it did.
func (p *peer) feed() http2.Reason {
	p.Helper()
	for {
		ev, out := p.Next(1e9, p.wire.Bytes(), &p.head, p.out[:0])
		p.out = out
		switch ev.Kind {
		case http2.NeedMore:
			return http2.NoReason
		case http2.Failed:
			return ev.Reason
		}
		p.wire.Next(ev.N)
	}
}

// blockOf encodes fields without the table.
func blockOf(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true})
	}
	return b.Bytes()
}

// ask begins a request of a Client.
func (p *peer) ask() (stream uint32) {
	p.Helper()
	out := message.Out{Method: []byte("GET"), Target: []byte("/"), Authority: []byte("a")}
	_, stream, ok := p.AppendRequest(nil, &out, true, 0)
	if !ok {
		p.Fatal("no stream is left")
	}
	return stream
}

// TestWhatWasOnItsWayWhenWeResetAStreamEndsNoConnectionToAnEndpoint: it carries requests
// of others, and a client may give up as many answers as it asks for.
func TestWhatWasOnItsWayWhenWeResetAStreamEndsNoConnectionToAnEndpoint(t *testing.T) {
	p := newPeer(t, http2.Client, false)
	for i := range 100 {
		stream := p.ask()
		_ = p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, BlockFragment: blockOf(":status", "200"), EndHeaders: true})
		p.feed()
		p.AppendReset(nil, stream, http2.Cancel)
		for range http2.DefaultStreamWindow / 100 { // all that its window lets through, in small frames
			_ = p.WriteData(stream, false, make([]byte, 100))
		}
		if why := p.feed(); why != http2.NoReason {
			t.Fatalf("the connection ended by %v with reset %d", why, i)
		}
	}
}

// TestLargeHeadsOfAnswersThatWereGivenUpEndNoConnectionToAnEndpoint as those of requests do.
func TestLargeHeadsOfAnswersThatWereGivenUpEndNoConnectionToAnEndpoint(t *testing.T) {
	p := newPeer(t, http2.Client, false)
	for i := range 200 {
		stream := p.ask()
		p.AppendReset(nil, stream, http2.Cancel)
		_ = p.WriteHeaders(xhttp2.HeadersFrameParam{
			StreamID: stream, BlockFragment: blockOf(":status", "200", "x", strings.Repeat("y", 15<<10)), EndHeaders: true, EndStream: true,
		})
		if why := p.feed(); why != http2.NoReason {
			t.Fatalf("the connection ended by %v with answer %d", why, i)
		}
	}
}

// TestAnEndpointThatSendsOnAResetStreamWithoutEndIsEnded however many streams we reset.
func TestAnEndpointThatSendsOnAResetStreamWithoutEndIsEnded(t *testing.T) {
	p := newPeer(t, http2.Client, false)
	stream := p.ask()
	p.AppendReset(nil, stream, http2.Cancel)
	for range 4000 {
		_ = p.WriteData(stream, false, make([]byte, 1))
	}
	if why := p.feed(); why != http2.StrayFrameFlood {
		t.Errorf("it ended by %v", why)
	}
}

// TestAnAnswerThatBreaksARuleEndsNoOthers however often a client asks for it.
func TestAnAnswerThatBreaksARuleEndsNoOthers(t *testing.T) {
	p := newPeer(t, http2.Client, false)
	for i := range 500 {
		_ = p.WriteHeaders(xhttp2.HeadersFrameParam{
			StreamID: p.ask(), BlockFragment: blockOf(":status", "200", "connection", "close"), EndHeaders: true, EndStream: true,
		})
		if why := p.feed(); why != http2.NoReason {
			t.Fatalf("the connection ended by %v with answer %d", why, i)
		}
	}
}

// TestClientsOfAProxyEndNoConnectionOfIts by what they give up, nor by what is refused. There
// is a bound for that, too.
func TestClientsOfAProxyEndNoConnectionOfIts(t *testing.T) {
	right := []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"}
	for name, c := range map[string]struct {
		fields []string
		reset  bool
		why    http2.Reason
	}{
		"reset":     {right, true, http2.ResetFlood},
		"malformed": {append([]string{"x", "y"}, right...), false, http2.ErrorFlood},
		"too many":  {append(right[:8:8], slices.Repeat([]string{"x", "y"}, http2.DefaultFields+1)...), false, http2.ErrorFlood},
		"too large": {
			append(right[:8:8], slices.Repeat([]string{"x", strings.Repeat("y", 150)}, http2.DefaultFields+1)...), false, http2.HeadFlood,
		},
	} {
		ended := [2]int{}
		for i, shared := range []bool{false, true} {
			p := newPeer(t, http2.Server, shared)
			why := http2.NoReason
			for stream := uint32(1); why == http2.NoReason; stream += 2 {
				if ended[i]++; ended[i] > 1e5 {
					t.Fatalf("%s: no bound", name)
				}
				_ = p.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: stream, EndHeaders: true, EndStream: true, BlockFragment: blockOf(c.fields...)})
				if c.reset {
					_ = p.WriteRSTStream(stream, xhttp2.ErrCodeCancel)
				}
				if why = p.feed(); why != http2.NoReason && why != c.why {
					t.Errorf("%s: it ended by %v", name, why)
				}
				p.AppendResponse(nil, stream, &message.Out{Status: 431}, true)
			}
		}
		if ended[0] > 300 || ended[1] < 50*ended[0] {
			t.Errorf("%s: it ended with request %d, and where it is shared with %d", name, ended[0], ended[1])
		}
	}
}

// TestUploadsThatNobodyTakesStopNoOtherOfAProxy however many there are.
func TestUploadsThatNobodyTakesStopNoOtherOfAProxy(t *testing.T) {
	p := newPeer(t, http2.Server, true)
	for i := range uint32(http2.DefaultStreams) {
		_ = p.WriteHeaders(xhttp2.HeadersFrameParam{
			StreamID: 1 + 2*i, EndHeaders: true,
			BlockFragment: blockOf(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a"),
		})
		for range http2.DefaultStreamWindow / http2.MaxFrame {
			_ = p.WriteData(1+2*i, false, make([]byte, http2.MaxFrame))
		}
		if why := p.feed(); why != http2.NoReason {
			t.Fatalf("upload %d: %v", i, why)
		}
	}
}

// TestAReaderMayAnswerEachFrameOfABody by a PING and by opening both windows, as gRPC's
// in Go do: small messages go in small frames.
func TestAReaderMayAnswerEachFrameOfABody(t *testing.T) {
	p := newPeer(t, http2.Server, false)
	_ = p.WriteHeaders(xhttp2.HeadersFrameParam{
		StreamID: 1, EndHeaders: true, EndStream: true,
		BlockFragment: blockOf(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"),
	})
	p.feed()
	p.AppendResponse(nil, 1, &message.Out{Status: 200}, false)
	for i := range 5000 {
		if _, n := p.AppendData(nil, 1, make([]byte, 20), false); n != 20 {
			t.Fatal("no room")
		}
		_ = p.WriteWindowUpdate(0, 20)
		_ = p.WriteWindowUpdate(1, 20)
		_ = p.WritePing(false, [8]byte{1})
		if why := p.feed(); why != http2.NoReason {
			t.Fatalf("the connection ended by %v with frame %d", why, i)
		}
		if p.Strained(1e9) {
			t.Fatalf("the peer strains with frame %d", i)
		}
	}
}

// TestWindowsThatAreOpenedByteByByteEarnNothing (CVE-2019-9511).
func TestWindowsThatAreOpenedByteByByteEarnNothing(t *testing.T) {
	p := newPeer(t, http2.Server, false)
	_ = p.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 0})
	_ = p.WriteHeaders(xhttp2.HeadersFrameParam{
		StreamID: 1, EndHeaders: true, EndStream: true,
		BlockFragment: blockOf(":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a"),
	})
	p.feed()
	p.AppendResponse(nil, 1, &message.Out{Status: 200}, false)
	body := make([]byte, 1<<20)
	for range 5000 {
		_, n := p.AppendData(nil, 1, body, true)
		body = body[n:]
		_ = p.WriteWindowUpdate(1, 1)
		if why := p.feed(); why != http2.NoReason {
			if why != http2.WindowUpdateFlood {
				t.Errorf("it ended by %v", why)
			}
			return
		}
	}
	t.Error("it goes on")
}
