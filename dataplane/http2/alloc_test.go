package http2_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// pair is a client and a server back to back.
type pair struct {
	client, server http2.Conn
	up, down       []byte // on their way
	request        message.Out
	response       message.Out
	body           []byte
	head           message.Head // of the server's caller
	answer         message.Head
}

func newPair() *pair {
	p := &pair{body: make([]byte, 1024)}
	p.client.Init(http2.Client, http2.Options{})
	p.server.Init(http2.Server, http2.Options{})
	p.up, p.down = p.client.AppendPreface(nil), p.server.AppendPreface(nil)
	p.request = message.Out{Method: []byte("GET"), Target: []byte("/static/images/2026/header-logo.svg"), Authority: []byte("www.shop.test")}
	for _, f := range [][2]string{
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"},
		{"Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{"Accept-Encoding", "gzip, deflate, br"},
		{"Cookie", "session=5f2c9c9e7a8b4d1e9f3a6b7c8d9e0f1a"},
	} {
		p.request.Add([]byte(f[0]), []byte(f[1]))
	}
	p.response = message.Out{Status: 200, Framing: message.FramingLength, Length: 1024}
	for _, f := range [][2]string{
		{"Date", "Mon, 21 Oct 2026 20:13:22 GMT"}, {"Content-Type", "image/svg+xml"}, {"Cache-Control", "max-age=3600"}, {"ETag", "\"abc-def\""},
	} {
		p.response.Add([]byte(f[0]), []byte(f[1]))
	}
	return p
}

// cycle is one request with its answer, through both codecs.
func (p *pair) cycle() (ended bool) {
	var ok bool
	p.up, _, ok = p.client.AppendRequest(p.up, &p.request, true, 7)
	if !ok {
		return false
	}
	in := p.up
	for {
		var ev http2.Event
		ev, p.down = p.server.Next(0, in, &p.head, p.down)
		if ev.Kind == http2.NeedMore {
			break
		}
		in = in[ev.N:]
		if ev.Kind == http2.End {
			p.down = p.server.AppendResponse(p.down, ev.Stream, &p.response, false)
			p.down, _ = p.server.AppendData(p.down, ev.Stream, p.body, true)
		}
	}
	p.up = p.up[:0]
	in = p.down
	for {
		var ev http2.Event
		ev, p.up = p.client.Next(0, in, &p.answer, p.up)
		if ev.Kind == http2.NeedMore {
			break
		}
		in = in[ev.N:]
		switch ev.Kind {
		case http2.Data:
			p.up = p.client.AppendConsumed(p.up, ev.Stream, ev.End-ev.Start)
		case http2.End:
			ended = ev.Tag == 7
		}
	}
	p.down = p.down[:0]
	return ended
}

func TestCycleDoesNotAllocate(t *testing.T) {
	p := newPair()
	for range 200 {
		if !p.cycle() {
			t.Fatal("a request was not answered")
		}
	}
	if n := testing.AllocsPerRun(2000, func() { p.cycle() }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

// BenchmarkCycle is what a request with an answer of 1 KiB costs in both codecs
// together: encoding and decoding of either side.
func BenchmarkCycle(b *testing.B) {
	p := newPair()
	b.ReportAllocs()
	for b.Loop() {
		if !p.cycle() {
			b.Fatal("a request was not answered")
		}
	}
}

// TestLargeHeadsOfManyConnectionsDoNotAllocate has connections that share their
// spare memory send a head of 40 KiB in pieces, one after another.
func TestLargeHeadsOfManyConnectionsDoNotAllocate(t *testing.T) {
	const connections = 64
	var spare http2.Spare
	var head message.Head
	requests := message.Out{Method: []byte("GET"), Target: []byte("/"), Authority: []byte("a.test")}
	requests.Add([]byte("x"), make40K())
	servers, wires := make([]http2.Conn, connections), make([][]byte, connections)
	for i := range servers {
		var client http2.Conn
		client.Init(http2.Client, http2.Options{})
		servers[i].Init(http2.Server, http2.Options{Spare: &spare})
		wires[i], _, _ = client.AppendRequest(client.AppendPreface(nil), &requests, true, 0)
	}
	out := make([]byte, 0, 1<<10)
	next := 0
	serve := func() {
		in, told := wires[next], false
		for {
			var ev http2.Event
			if ev, out = servers[next].Next(0, in, &head, out[:0]); ev.Kind == http2.NeedMore {
				break
			}
			told = told || ev.Kind == http2.End
			in = in[ev.N:]
		}
		if next++; !told {
			t.Fatal("a request did not come")
		}
	}
	serve() // makes the spare memory
	// The table of streams is made with the first; nothing else is.
	if n := testing.AllocsPerRun(connections-2, serve); n > 4 {
		t.Errorf("%v allocations a connection", n)
	}
}

// TestLargeHeadsThatComeAtOnceDoNotAllocate has four connections send theirs frame by frame, in
// turns, so that a block of each is on its way.
func TestLargeHeadsThatComeAtOnceDoNotAllocate(t *testing.T) {
	const warm, more = 5, 20
	var spare http2.Spare
	var head message.Head
	requests := message.Out{Method: []byte("GET"), Target: []byte("/"), Authority: []byte("a.test")}
	requests.Add([]byte("x"), make40K())
	servers, wires := make([]http2.Conn, 4), make([][]byte, 4)
	for i := range servers {
		var client http2.Conn
		client.Init(http2.Client, http2.Options{})
		servers[i].Init(http2.Server, http2.Options{Spare: &spare})
		wires[i] = client.AppendPreface(nil)
		for range warm + more + 1 {
			wires[i], _, _ = client.AppendRequest(wires[i], &requests, true, 0)
		}
	}
	out := make([]byte, 0, 1<<10)
	serve := func() {
		for told := 0; told < len(servers); {
			for i := range servers {
				ev, _ := servers[i].Next(0, wires[i], &head, out[:0])
				wires[i] = wires[i][ev.N:]
				switch ev.Kind {
				case http2.NeedMore, http2.Failed:
					t.Fatalf("%v %v", ev.Kind, ev.Reason)
				case http2.End:
					servers[i].AppendReset(out[:0], ev.Stream, http2.Cancel)
					told++
				}
			}
		}
	}
	for range warm {
		serve()
	}
	if n := testing.AllocsPerRun(more, serve); n != 0 {
		t.Errorf("%v allocations for a head of each", n)
	}
}

func make40K() []byte {
	b := make([]byte, 40<<10)
	for i := range b {
		b[i] = 'a'
	}
	return b
}
