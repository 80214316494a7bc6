package exchange

import (
	"bytes"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// What comes by one version of HTTP is written in the same or the other one. Whoever
// reads it must find one head, that one, and a body that ends where it ended before: else
// a peer could have others read what nobody looked at.

// wide are limits that what was let through by the usual ones does not reach.
const wide = 1 << 20

// firstOf reads the head with which a connection begins; rest is what stands behind it.
func firstOf(c *http2.Conn, in []byte, h *message.Head) (rest int, ok bool) {
	var out []byte
	for {
		var ev http2.Event
		ev, out = c.Next(1, in, h, out)
		in = in[ev.N:]
		switch ev.Kind {
		case http2.Head:
			return len(in), true
		case http2.Noted, http2.Settings, http2.Writable:
		default:
			return len(in), false
		}
	}
}

// headers is a frame of a whole field block.
func headers(block []byte, ended bool) []byte {
	flags := byte(4)
	if ended {
		flags |= 1
	}
	return append([]byte{byte(len(block) >> 16), byte(len(block) >> 8), byte(len(block)), 1, flags, 0, 0, 0, 1}, block...)
}

// noSettings is the frame that each side begins with.
const noSettings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// literal is a field block of fields as they stand here, one a line.
func literal(lines string) (block []byte) {
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(line, "= ")
		block = append(append(block, 0, byte(len(name))), name...)
		block = append(append(block, byte(len(value))), value...)
	}
	return block
}

// requestOf reads what a client sent: text, or a field block.
func requestOf(in []byte, two, ended bool, h *message.Head) bool {
	if !two {
		var r http1.Reader
		r.Init(http1.Server, http1.Limits{})
		return r.Next(in, h).Kind == http1.Head
	}
	var c http2.Conn
	c.Init(http2.Server, http2.Options{ExtendedConnect: true})
	_, ok := firstOf(&c, append([]byte(http2.Preface+noSettings), headers(in, ended)...), h)
	return ok
}

// sameFields tells whether the fields of h are those of o, in order, but for names of
// another case and for those that the codec writes itself.
func sameFields(o *message.Out, h *message.Head) bool {
	i := 0
	for _, f := range h.Fields {
		name, value := h.Bytes(f.Name), h.Bytes(f.Value)
		if i < len(o.Fields) && bytes.EqualFold(name, o.Fields[i].Name) && bytes.Equal(value, o.Fields[i].Value) {
			i++
			continue
		}
		switch f.ID {
		case message.FieldHost, message.FieldContentLength, message.FieldTransferEncoding, message.FieldConnection:
		default:
			return false
		}
	}
	return i == len(o.Fields)
}

func FuzzARequestIsReadAsTheOneThatCame(f *testing.F) {
	for _, text := range []string{
		"GET /a/./b%41?q=1 HTTP/1.1\r\nHost: Shop.Test:8080\r\nConnection: x-hop, te\r\nX-Hop: 1\r\nTE: trailers\r\nCookie: a=b\r\n\r\n",
		"POST http://shop.test HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 0\r\n\r\n", "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", "GET /?\xff HTTP/1.1\r\nHost: [::1]:80\r\nX:\t\xe9 \r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nTransfer-Encoding : chunked\r\n\r\n", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(text), uint8(0))
		f.Add([]byte(text), uint8(4|8))
	}
	for _, lines := range []string{
		":method= GET\n:scheme= https\n:path= /a?b\n:authority= a\nx-a= 1\ncookie= a\ncookie= b", ":method= POST\n:scheme= http\n:path= /\n:authority= a\ncontent-length= 5",
		":method= CONNECT\n:protocol= websocket\n:scheme= https\n:path= /chat\n:authority= a:80\norigin= x", ":method= CONNECT\n:authority= a:80",
		":method= GET\n:scheme= https\n:path= /a b\n:authority= a", ":method= GET\n:scheme= https\n:path= /\n:authority= a\nx= 1\r\ncontent-length: 5",
		":method= OPTIONS\n:scheme= https\n:path= *\nhost= a\nte= trailers", ":method= GET\n:scheme= https\n:path= /\n:authority= a\ntransfer-encoding= chunked",
	} {
		f.Add(literal(lines), uint8(1))
		f.Add(literal(lines), uint8(1|2|4|8))
	}
	f.Fuzz(func(t *testing.T, in []byte, options uint8) {
		if len(in) > 4<<10 {
			return
		}
		two, ended, upTwo, raw := options&1 != 0, options&2 != 0, options&4 != 0, options&8 != 0
		var h message.Head
		if !requestOf(in, two, ended, &h) {
			return
		}
		env := testEnv(t, func(_ *table.Listener, r *table.Route) {
			r.Tunnel = &table.Tunnel{Upgrades: []string{"websocket", "connect-udp"}}
			r.Targets[0].Upstream.HTTP2, r.ForwardRawPath = upTwo, raw
		})
		x, actions := begin(env, &h)
		if actions&ActAcquire == 0 {
			return
		}
		if actions = x.Step(env, 20, gotNew); actions&ActSendHead == 0 {
			t.Fatalf("actions %b", actions)
		}
		var o message.Out
		x.RequestHead(env, &o)
		for _, field := range o.Fields {
			if id := message.LookupField(field.Name); id.HopByHop() && (id != message.FieldUpgrade || !o.Upgrade) {
				t.Errorf("%s of the hop goes up", field.Name)
			}
		}
		var got message.Head
		var rest int
		var ok bool
		if upTwo {
			client, server := new(http2.Conn), new(http2.Conn)
			client.Init(http2.Client, http2.Options{})
			server.Init(http2.Server, http2.Options{ExtendedConnect: true, HeadBytes: wide, Fields: wide})
			text, _, _ := client.AppendRequest(client.AppendPreface(nil), &o, x.RequestDone() && !x.Tunnels(), 0)
			rest, ok = firstOf(server, text, &got)
		} else {
			var r http1.Reader
			r.Init(http1.Server, http1.Limits{HeadBytes: wide, Fields: wide})
			text := http1.AppendRequest(nil, &o)
			ev := r.Next(text, &got)
			rest, ok = len(text)-ev.N, ev.Kind == http1.Head
		}
		if !ok || rest != 0 {
			t.Fatalf("read: %t, %d bytes are left of %s", ok, rest, outText(&o))
		}
		if method := got.Bytes(got.MethodName); !bytes.Equal(method, o.Method) || !bytes.Equal(got.Bytes(got.Target), o.Target) || !bytes.Equal(got.Bytes(got.Authority), o.Authority) {
			t.Errorf("%s %s %s was written, and %s %s %s read", o.Method, o.Target, o.Authority, method, got.Bytes(got.Target), got.Bytes(got.Authority))
		}
		if got.Framing != o.Framing || got.Framing == message.FramingLength && got.Length != h.Length || !x.Tunnels() && o.Framing != h.Framing {
			t.Errorf("framing %d of %d bytes came, %d of %d was read", h.Framing, h.Length, got.Framing, got.Length)
		}
		if !sameFields(&o, &got) {
			t.Errorf("%s\nwas read as %s", outText(&o), fieldsText(&got))
		}
	})
}

func fieldsText(h *message.Head) string {
	var o message.Out
	for i := range h.Fields {
		o.Pass(h, &h.Fields[i])
	}
	return outText(&o)
}

// answerOf reads what an endpoint sent: text, or a field block.
func answerOf(in []byte, two, ended bool, asked *message.Out, h *message.Head) bool {
	if !two {
		var r http1.Reader
		r.Init(http1.Client, http1.Limits{})
		r.ExpectResponseTo(message.LookupMethod(asked.Method))
		return r.Next(in, h).Kind == http1.Head
	}
	var c http2.Conn
	c.Init(http2.Client, http2.Options{})
	c.AppendRequest(c.AppendPreface(nil), asked, true, 0)
	_, ok := firstOf(&c, append([]byte(noSettings), headers(in, ended)...), h)
	return ok
}

func FuzzAnAnswerIsReadAsTheOneThatCame(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-A: \xe9\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 204 No\r\nX: 1\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "HTTP/1.1 599 \r\nContent-Length: 0\r\nTrailer: x\r\n\r\n",
	} {
		for options := range uint8(16) {
			f.Add([]byte(text), 2*options)
		}
	}
	for _, lines := range []string{
		":status= 200\ncontent-length= 5\nx-a= 1", ":status= 200", ":status= 204\nset-cookie= a\nset-cookie= b", ":status= 304\ncontent-length= 7", ":status= 404\nx= a\r\nb: c",
	} {
		for options := range uint8(16) {
			f.Add(literal(lines), 1+2*options)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, options uint8) {
		if len(in) > 4<<10 {
			return
		}
		two, ended, downTwo, head, old := options&1 != 0, options&2 != 0, options&4 != 0, options&8 != 0, options&16 != 0
		env := testEnv(t, func(_ *table.Listener, r *table.Route) { r.Targets[0].Upstream.HTTP2 = two })
		method := "GET"
		if head {
			method = "HEAD"
		}
		asks := request(method, "/")
		if asks.HTTP2 = downTwo; old && !downTwo {
			asks.Minor, asks.KeepAlive = 0, true
		}
		x, _ := begin(env, asks)
		x.Step(env, 20, gotNew)
		var o message.Out
		x.RequestHead(env, &o)
		var h message.Head
		if !answerOf(in, two, ended, &o, &h) {
			return
		}
		if got := x.Step(env, 30, Event{Kind: EventResponseHead, Head: &h}); got&ActForwardHead == 0 {
			return
		}
		x.ResponseHead(env, &h, &o)
		var got message.Head
		var rest int
		var ok bool
		if downTwo {
			client, server := new(http2.Conn), new(http2.Conn)
			client.Init(http2.Client, http2.Options{HeadBytes: wide, Fields: wide})
			server.Init(http2.Server, http2.Options{})
			text, stream, _ := client.AppendRequest(client.AppendPreface(nil), &message.Out{Method: []byte(method), Target: slash, Authority: []byte("a")}, true, 0)
			if _, ok := firstOf(server, text, new(message.Head)); !ok {
				t.Fatal("nothing is asked")
			}
			none := o.Framing == message.FramingNone || head || h.Status == 304 || o.Framing == message.FramingLength && o.Length == 0
			rest, ok = firstOf(client, server.AppendResponse(server.AppendPreface(nil), stream, &o, none), &got)
		} else {
			var r http1.Reader
			r.Init(http1.Client, http1.Limits{HeadBytes: wide, Fields: wide})
			r.ExpectResponseTo(asks.Method)
			text := http1.AppendResponse(nil, &o)
			ev := r.Next(text, &got)
			rest, ok = len(text)-ev.N, ev.Kind == http1.Head
		}
		if !ok || rest != 0 || got.Status != h.Status {
			t.Fatalf("read: %t, %d instead of %d, %d bytes are left of %s", ok, got.Status, h.Status, rest, outText(&o))
		}
		// No body stays none; one of a length keeps it; others end as the version has it.
		want := h.Framing
		switch {
		case want == message.FramingNone || want == message.FramingLength:
		case downTwo || !old:
			want = message.FramingChunked
		default:
			want = message.FramingUntilClose
		}
		if got.Framing != want || want == message.FramingLength && got.Length != h.Length || want == message.FramingUntilClose && got.KeepAlive {
			t.Errorf("framing %d of %d bytes came, %d of %d was read", h.Framing, h.Length, got.Framing, got.Length)
		}
		if x.ChunkedDown() != (want == message.FramingChunked) {
			t.Errorf("framing %d, in chunks %t", want, x.ChunkedDown())
		}
		if !sameFields(&o, &got) {
			t.Errorf("%s\nwas read as %s", outText(&o), fieldsText(&got))
		}
	})
}
