package http1_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

func TestAppendRequest(t *testing.T) {
	out := func(f func(o *message.Out)) *message.Out {
		o := &message.Out{Method: []byte("GET"), Target: []byte("/a?b"), Authority: []byte("shop.test")}
		f(o)
		return o
	}
	const start = "GET /a?b HTTP/1.1\r\nHost: shop.test\r\n"
	for want, o := range map[string]*message.Out{
		start + "\r\n":                                    out(func(*message.Out) {}),
		start + "A: b\r\nC: \r\n\r\n":                     out(func(o *message.Out) { o.Add([]byte("A"), []byte("b")); o.Add([]byte("C"), nil) }),
		start + "Content-Length: 0\r\n\r\n":               out(func(o *message.Out) { o.Framing = message.FramingLength }),
		start + "Content-Length: 123456789012345\r\n\r\n": out(func(o *message.Out) { o.Framing, o.Length = message.FramingLength, 123456789012345 }),
		start + "Transfer-Encoding: chunked\r\n\r\n":      out(func(o *message.Out) { o.Framing = message.FramingChunked }),
		start + "Connection: close\r\n\r\n":               out(func(o *message.Out) { o.Close = true }),
		start + "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n": out(func(o *message.Out) {
			o.Upgrade = true
			o.Add([]byte("Upgrade"), []byte("websocket"))
		}),
	} {
		if got := string(http1.AppendRequest([]byte("x"), o)); got != "x"+want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestAppendResponse(t *testing.T) {
	for _, c := range []struct {
		out  message.Out
		want string
	}{
		{message.Out{Status: 200, Minor: 1, Framing: message.FramingLength, Length: 5}, "200 OK\r\nContent-Length: 5\r\n\r\n"},
		{message.Out{Status: 200, Minor: 1, Framing: message.FramingChunked}, "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{message.Out{Status: 200, Minor: 1, Framing: message.FramingUntilClose}, "200 OK\r\nConnection: close\r\n\r\n"},
		{message.Out{Status: 200, Minor: 1, Framing: message.FramingLength, Close: true}, "200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{message.Out{Status: 200, Minor: 0, Framing: message.FramingLength, Length: 5}, "200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"},
		{message.Out{Status: 200, Minor: 0, Framing: message.FramingLength, Close: true}, "200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
		{message.Out{Status: 200, Minor: 0, Framing: message.FramingChunked}, "200 OK\r\nConnection: close\r\n\r\n"},
		{message.Out{Status: 204, Minor: 1}, "204 No Content\r\n\r\n"},
		{message.Out{Status: 100, Minor: 1, Close: true}, "100 Continue\r\n\r\n"},
		{message.Out{Status: 101, Minor: 1, Upgrade: true}, "101 Switching Protocols\r\nConnection: upgrade\r\n\r\n"},
		{message.Out{Status: 299, Minor: 1, Framing: message.FramingLength}, "299 \r\nContent-Length: 0\r\n\r\n"},
		{message.Out{Status: 599, Minor: 1, Framing: message.FramingLength}, "599 \r\nContent-Length: 0\r\n\r\n"},
	} {
		o := c.out
		if got := string(http1.AppendResponse(nil, &o)); got != "HTTP/1.1 "+c.want {
			t.Errorf("%+v: got %q, want %q", c.out, got, c.want)
		}
		if o.Framing == message.FramingUntilClose && !o.Close || o.Minor == 0 && o.Framing == message.FramingChunked {
			t.Errorf("%+v: the caller is not told: %+v", c.out, o)
		}
	}
}

// TestWhatIsWrittenIsRead: each encoder's output is what the reader of the
// other side makes of it.
func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, framing := range []message.Framing{message.FramingNone, message.FramingLength, message.FramingChunked} {
		for _, closes := range []bool{false, true} {
			o := message.Out{Method: []byte("POST"), Target: []byte("/a"), Authority: []byte("a.test"), Framing: framing, Close: closes}
			o.Add([]byte("X-A"), []byte("b c"))
			var body string
			wire := appendBody(http1.AppendRequest(nil, &o), framing, &body, &o, http1.AppendRequest)
			got := play(t, http1.Server, 0, wire, http1.Limits{}, len(wire))
			if len(got.messages) != 1 || got.messages[0].Body != body || got.messages[0].Closes != closes || got.reason != 0 {
				t.Errorf("%v, %v: %q is read as %+v", framing, closes, wire, got)
			}
			o.Status, o.Minor = 200, 1
			if framing == message.FramingNone {
				o.Framing = message.FramingUntilClose
			}
			wire = appendBody(http1.AppendResponse(nil, &o), o.Framing, &body, &o, http1.AppendResponse)
			got = play(t, http1.Client, message.MethodPost, wire, http1.Limits{}, len(wire))
			if len(got.messages) != 1 || got.messages[0].Body != body || got.messages[0].Closes != o.Close || got.reason != 0 {
				t.Errorf("%v, %v: %q is read as %+v", o.Framing, closes, wire, got)
			}
		}
	}
}

// appendBody writes a body of some pieces behind a head, which is written anew
// when it must tell the length.
func appendBody(head []byte, framing message.Framing, body *string, o *message.Out, appendHead func([]byte, *message.Out) []byte) []byte {
	pieces := []string{"hello", strings.Repeat("x", 300), "0\r\n\r\n"}
	*body = strings.Join(pieces, "")
	switch framing {
	case message.FramingNone:
		*body = ""
	case message.FramingLength:
		o.Length = int64(len(*body))
		return append(appendHead(nil, o), *body...)
	case message.FramingUntilClose:
		return append(head, *body...)
	case message.FramingChunked:
		for _, p := range pieces {
			head = http1.AppendChunkHeader(head, len(p))
			head = append(head, p...)
			head = http1.AppendChunkEnd(head)
		}
		return http1.AppendLastChunk(head, nil)
	}
	return head
}

func TestEveryStatusHasItsLine(t *testing.T) {
	phrases := map[uint16]string{100: "Continue", 200: "OK", 413: "Content Too Large", 511: "Network Authentication Required", 599: ""}
	for status := uint16(100); status < 1000; status++ {
		o := message.Out{Status: status, Minor: 1}
		wire := string(http1.AppendResponse(nil, &o))
		phrase, ok := strings.CutPrefix(wire, fmt.Sprintf("HTTP/1.1 %d ", status))
		if phrase, whole := strings.CutSuffix(phrase, "\r\n\r\n"); !ok || !whole || strings.ContainsAny(phrase, "\r\n") {
			t.Errorf("%d: %q", status, wire)
		} else if want, known := phrases[status]; known && phrase != want {
			t.Errorf("%d: %q, want %q", status, phrase, want)
		}
	}
}

func TestAppendingDoesNotAllocate(t *testing.T) {
	dst := make([]byte, 0, 1024)
	o := message.Out{
		Method: []byte("GET"), Target: []byte("/"), Authority: []byte("a.test"),
		Status: 200, Minor: 1, Framing: message.FramingLength, Length: 1 << 40,
	}
	for range 10 {
		o.Add([]byte("X-Name"), []byte("some value"))
	}
	if n := testing.AllocsPerRun(100, func() {
		dst = http1.AppendRequest(dst[:0], &o)
		dst = http1.AppendResponse(dst[:0], &o)
		o.Status ^= 200 ^ 299
		dst = http1.AppendChunkHeader(dst[:0], 1<<30)
		dst = http1.AppendChunkEnd(dst)
		dst = http1.AppendLastChunk(dst, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
