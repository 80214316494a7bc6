package http1_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// reader is a Reader with a head, for tests that look at single events.
type reader struct {
	http1.Reader
	head message.Head
}

func newReader(role http1.Role, limits http1.Limits) *reader {
	r := &reader{}
	r.Init(role, limits)
	return r
}

func (r *reader) next(in string) http1.Event { return r.Next([]byte(in), &r.head) }

func TestHeadOfARequest(t *testing.T) {
	r := newReader(http1.Server, http1.Limits{})
	input := "\r\nPOST http://Shop.test:80/a/b?c=d&e HTTP/1.1\r\nHost: shop.TEST:80\r\nConnection: X-Foo, upgrade, close\r\n" +
		"Upgrade: websocket\r\nExpect: 100-Continue\r\ncontent-length:  7 \r\nX-Foo:\r\n\r\nbody"
	ev := r.next(input)
	h := &r.head
	if ev.Kind != http1.Head || ev.N != len(input)-4 {
		t.Fatalf("%+v", ev)
	}
	text := func(s message.Span) string { return string(h.Bytes(s)) }
	if h.Method != message.MethodPost || text(h.MethodName) != "POST" || text(h.Target) != "http://Shop.test:80/a/b?c=d&e" ||
		text(h.Authority) != "Shop.test:80" || text(h.Path) != "/a/b" || text(h.Query) != "c=d&e" || !h.HasQuery || h.Form != message.FormAbsolute {
		t.Errorf("target: %+v", h)
	}
	if h.Minor != 1 || h.Framing != message.FramingLength || h.Declared != message.FramingLength || h.Length != 7 ||
		h.KeepAlive || !h.Expect100 || !h.Upgrade || !h.Named || !h.NamedByConnection([]byte("x-foo")) {
		t.Errorf("framing and connection: %+v", h)
	}
	if len(h.Fields) != 6 || h.Fields[0].ID != message.FieldHost || h.Fields[5].ID != 0 || text(h.Fields[4].Value) != "7" || text(h.Fields[5].Name) != "X-Foo" {
		t.Errorf("fields: %+v", h.Fields)
	}
}

func TestExpectationWithoutABodyIsNotWaitedFor(t *testing.T) {
	for input, want := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n":                               false,
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n":          false,
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n":          true,
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n": true,
		"GET / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n":          false,
	} {
		r := newReader(http1.Server, http1.Limits{})
		if ev := r.next(input); ev.Kind != http1.Head || r.head.Expect100 != want {
			t.Errorf("%q: %+v, %v", input, ev, r.head.Expect100)
		}
	}
}

func TestDeclaredFramingOfAnswersWithoutABody(t *testing.T) {
	for input, want := range map[string]message.Framing{
		"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n":             message.FramingLength,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n":    message.FramingChunked,
		"HTTP/1.1 200 OK\r\n\r\n":                                  message.FramingNone,
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n":   message.FramingLength,
		"HTTP/1.1 304 Not Modified\r\nConnection: upgrade\r\n\r\n": message.FramingNone,
	} {
		r := newReader(http1.Client, http1.Limits{})
		r.ExpectResponseTo(message.MethodHead)
		if ev := r.next(input); ev.Kind != http1.Head || r.head.Declared != want || r.head.Framing != message.FramingNone ||
			want == message.FramingLength && r.head.Length != 7 || !r.head.KeepAlive || r.head.Upgrade {
			t.Errorf("%q: %+v, %+v", input, ev, r.head)
		}
		if ev := r.next(""); ev.Kind != http1.End || !r.Idle() {
			t.Errorf("%q: %+v", input, ev)
		}
	}
}

func TestABodyOfAnySizeIsReadInPieces(t *testing.T) {
	r := newReader(http1.Server, http1.Limits{})
	r.next("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000000\r\n\r\n")
	piece := make([]byte, 1<<20)
	total := 0
	for total < 5_000_000_000 {
		ev := r.Next(piece, &r.head)
		if ev.Kind != http1.Data {
			t.Fatalf("after %d bytes: %+v", total, ev)
		}
		total += ev.End - ev.Start
	}
	if ev := r.next(""); ev.Kind != http1.End || total != 5_000_000_000 {
		t.Errorf("%+v after %d bytes", ev, total)
	}
}

func TestAnAnswerThatNobodyAskedForIsRefused(t *testing.T) {
	r := newReader(http1.Client, http1.Limits{})
	if ev := r.next(""); ev.Kind != http1.NeedMore || !r.Idle() {
		t.Errorf("idle: %+v", ev)
	}
	if ev := r.next("HTTP/1.1 200 OK\r\n\r\n"); ev.Reason != http1.UnsolicitedResponse {
		t.Errorf("before the first request: %+v", ev)
	}
	r = newReader(http1.Client, http1.Limits{})
	r.ExpectResponseTo(message.MethodGet)
	if r.Idle() {
		t.Error("idle while an answer is awaited")
	}
	r.next("HTTP/1.1 204 No Content\r\n\r\n")
	r.next("")
	if ev := r.next("H"); ev.Reason != http1.UnsolicitedResponse {
		t.Errorf("after an answer: %+v", ev)
	}
	if r.ExpectResponseTo(message.MethodGet); r.Idle() || r.next("").Kind != http1.Failed {
		t.Error("a failed reader came back to life")
	}
}

func TestWhatTheEndOfTheInputMeansDependsOnWhatCame(t *testing.T) {
	for _, c := range []struct {
		name, input string
		role        http1.Role
		want        []http1.Kind
		reason      http1.Reason
	}{
		{"before a request", "", http1.Server, []http1.Kind{http1.Closed, http1.Closed}, 0},
		{"after an empty line", "\r\n", http1.Server, []http1.Kind{http1.Closed}, 0},
		{"within a request", "G", http1.Server, []http1.Kind{http1.Failed, http1.Failed}, http1.TruncatedHead},
		{"before an answer", "", http1.Client, []http1.Kind{http1.Closed}, 0},
		{"within an answer", "H", http1.Client, []http1.Kind{http1.Failed}, http1.TruncatedHead},
		{"after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", http1.Client, []http1.Kind{http1.Closed}, 0},
		{"within a body until close", "HTTP/1.1 200 OK\r\n\r\nab", http1.Client, []http1.Kind{http1.End, http1.Closed}, 0},
		{"within a body", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", http1.Client, []http1.Kind{http1.Failed}, http1.TruncatedBody},
	} {
		r := newReader(c.role, http1.Limits{})
		r.ExpectResponseTo(message.MethodGet)
		in := c.input
		for ev := r.next(in); ev.Kind != http1.NeedMore; ev = r.next(in) {
			in = in[ev.N:]
		}
		for i, want := range c.want {
			if ev := r.EOF(); ev.Kind != want || want == http1.Failed && ev.Reason != c.reason {
				t.Errorf("%s: EOF %d: %+v", c.name, i, ev)
			}
		}
	}
	// The end of a complete body is told even if the peer closed before it was.
	r := newReader(http1.Server, http1.Limits{})
	r.next("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if a, b := r.EOF(), r.EOF(); a.Kind != http1.End || b.Kind != http1.Closed {
		t.Errorf("EOF after a head: %+v, %+v", a, b)
	}
}

func TestIdleIsBetweenMessages(t *testing.T) {
	r := newReader(http1.Server, http1.Limits{})
	const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	if !r.Idle() {
		t.Error("not idle at first")
	}
	if r.next("\r\n"); !r.Idle() {
		t.Error("not idle after an empty line")
	}
	if r.next("\r\nG"); r.Idle() {
		t.Error("idle within a head")
	}
	if r.next("\r\n" + head); r.Idle() {
		t.Error("idle before the end")
	}
	if r.next(""); !r.Idle() {
		t.Error("not idle after the end")
	}
}

func TestLimitsAreThoseOfInit(t *testing.T) {
	const head = "GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n"
	for _, c := range []struct {
		limits http1.Limits
		reason http1.Reason
	}{
		{http1.Limits{HeadBytes: len(head), Fields: 2}, http1.NoReason},
		{http1.Limits{HeadBytes: len(head) - 1, Fields: 2}, http1.HeadTooLarge},
		{http1.Limits{HeadBytes: len(head), Fields: 1}, http1.TooManyFields},
		{http1.Limits{HeadBytes: 15}, http1.RequestLineTooLong},
		{http1.Limits{HeadBytes: 16}, http1.HeadTooLarge},
	} {
		for _, prefix := range []string{"", "\r\n"} {
			r := newReader(http1.Server, c.limits)
			if ev := r.next(prefix + head); ev.Reason != c.reason {
				t.Errorf("%+v: %+v", c.limits, ev)
			}
		}
	}
}

func TestTrailersCanBeReadFromTheEndEvent(t *testing.T) {
	r := newReader(http1.Server, http1.Limits{})
	r.next("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	rest := string(http1.AppendLastChunk(nil, []byte("A: b\r\nETag: \r\n")))
	ev := r.next(rest)
	if ev.Kind != http1.End || ev.N != len(rest) {
		t.Fatalf("%+v", ev)
	}
	section := []byte(rest[ev.Start:ev.End])
	fields := http1.AppendTrailers(nil, section)
	if len(fields) != 2 || fields[1].ID != message.FieldETag || string(section[fields[0].Value.Start:fields[0].Value.End]) != "b" {
		t.Errorf("%+v of %q", fields, section)
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	r := newReader(http1.Server, http1.Limits{})
	in := []byte(browserHead)
	post := []byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n")
	check := func(what string, f func()) {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	check("a head", func() { r.Next(in, &r.head); r.Next(nil, &r.head) })
	check("a head in two parts", func() { r.Next(in[:200], &r.head); r.Next(in, &r.head); r.Next(nil, &r.head) })
	check("chunks", func() {
		rest := post
		for ev := r.Next(rest, &r.head); ev.Kind != http1.End; ev = r.Next(rest, &r.head) {
			rest = rest[ev.N:]
		}
	})
	for _, bad := range []string{"GET / HTTP/1.1\r\nHost: a\nb: c\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"} {
		in := []byte(bad)
		check("a refusal", func() { r.Init(http1.Server, http1.Limits{}); r.Next(in, &r.head) })
	}
	c := newReader(http1.Client, http1.Limits{})
	answer := []byte(originAnswer)
	body := make([]byte, 1024)
	check("an answer", func() {
		c.ExpectResponseTo(message.MethodGet)
		c.Next(answer, &c.head)
		c.Next(body, &c.head)
		c.Next(nil, &c.head)
	})
}
