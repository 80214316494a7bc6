package accesslog

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

func sample() exchange.Record {
	return exchange.Record{
		StartUnixNano: time.Date(2026, 11, 20, 10, 44, 7, 120_045_999, time.UTC).UnixNano(),
		Duration:      1_234_567, HeadTime: 45_000, Acquire: 3_000, FirstByte: 1_000_000,
		RequestID: []byte("0123456789abcdef0123456789abcdef"),
		Method:    []byte("GET"), Host: []byte("shop.test"), Path: []byte("/api/orders/17"),
		Query:     []byte("page=2&sort=date"),
		UserAgent: []byte("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
		Minor:     1,
		Client:    netip.MustParseAddrPort("192.0.2.77:51234"), Status: 200, Attempts: 1,
		Listener: "web", Route: "api", Upstream: "api-v1", Endpoint: "127.0.0.1:9003",
		BytesIn: 17, BytesOut: 1024, Epoch: 1, Revision: 42,
	}
}

// failed is sample with what a request may have besides.
func failed() exchange.Record {
	r := sample()
	r.TraceID, r.SpanID = []byte("0af7651916cd43dd8448eb211c80319c"), []byte("b7ad6b7169203331")
	r.Status, r.Reason, r.Detail, r.Attempts = 502, exchange.ReasonConnectFailure, "ECONNREFUSED", 2
	return r
}

func TestALineHasItsKeysInOrderAndLeavesOutWhatIsEmpty(t *testing.T) {
	for _, tt := range []struct {
		name   string
		record exchange.Record
		want   string
	}{
		{
			"everything", failed(),
			`{"time":"2026-11-20T10:44:07.120045Z","request_id":"0123456789abcdef0123456789abcdef",` +
				`"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331",` +
				`"client":"192.0.2.77:51234","method":"GET","host":"shop.test","path":"/api/orders/17",` +
				`"query":"page=2&sort=date","protocol":"HTTP/1.1","status":502,"reason":"connect_failure",` +
				`"detail":"ECONNREFUSED","listener":"web","route":"api","upstream":"api-v1",` +
				`"endpoint":"127.0.0.1:9003","attempts":2,"bytes_in":17,"bytes_out":1024,"duration_us":1234,` +
				`"head_us":45,"acquire_us":3,"first_byte_us":1000,` +
				`"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",` +
				`"epoch":1,"revision":42}`,
		},
		{
			"nothing",
			exchange.Record{},
			`{"time":"1970-01-01T00:00:00.000000Z","request_id":"","client":"","method":"","host":"","path":"",` +
				`"protocol":"","status":0,"listener":"","bytes_in":0,"bytes_out":0,"duration_us":0,` +
				`"epoch":0,"revision":0}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := string(appendLine(nil, &clock{}, &tt.record))
			if diff := cmp.Diff(tt.want+"\n", got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNothingThatATerminalObeysIsInALine(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`plain /a?b=c&d<e>`, `plain /a?b=c&d<e>`},
		{`say "hi" \ bye`, `say \"hi\" \\ bye`},
		{"\x00\x1b[31m\t\r\n\x7f", `\u0000\u001b[31m\t\r\n\u007f`},
		{"grüße, 世界 🚀", "grüße, 世界 🚀"},
		{"csi \u009b and nel \u0085", `csi \u009b and nel \u0085`},
		{"bad \xff\xc3", `bad \ufffd\ufffd`},
		{"overlong \xc0\xaf", `overlong \ufffd\ufffd`},
		{"surrogate \xed\xa0\x80", `surrogate \ufffd\ufffd\ufffd`},
		{"cut \xe4\xb8", `cut \ufffd\ufffd`},
		{"a real \ufffd", "a real \ufffd"},
	} {
		if got := string(appendEscaped(nil, tt.in)); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.in, got, tt.want)
		}
		if got := string(appendEscaped(nil, []byte(tt.in))); got != tt.want {
			t.Errorf("%q as bytes: got %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	r := sample()
	bad := bytes.Repeat([]byte{0xff}, 100_000)
	r.RequestID, r.Method, r.Host, r.Path, r.Query, r.UserAgent = bad, bad, bad, bad, bad, bad
	r.Detail = string(bad)
	line := appendLine(nil, &clock{}, &r)
	if len(line) > lineRoom {
		t.Errorf("a line of %d bytes, want at most %d", len(line), lineRoom)
	}
	if !json.Valid(line) {
		t.Error("not JSON")
	}
}

func TestTimesMatchThoseOfPackageTime(t *testing.T) {
	var c clock
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(0, -1), time.Unix(1e9, 999_999_999), time.Unix(1e9, 0),
		time.Unix(1e9+1, 1000), time.Unix(1e9-1, 10_000), time.Date(2100, 2, 28, 23, 59, 59, 0, time.UTC),
	} {
		want := at.UTC().Format("2006-01-02T15:04:05.000000Z")
		if got := string(c.append(nil, at.UnixNano())); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// FuzzLine checks that whatever clients send, a line is one line of JSON, holds
// no byte that a terminal obeys, and gives back what was valid.
func FuzzLine(f *testing.F) {
	f.Add("/", "a=b", "curl/8", int64(1))
	f.Add("\x00\xff\u009b\"\\", "\xed\xa0\x80", strings.Repeat("é", 600), int64(-1))
	f.Fuzz(func(t *testing.T, path, query, agent string, at int64) {
		r := sample()
		r.Path, r.Query, r.UserAgent, r.StartUnixNano = []byte(path), []byte(query), []byte(agent), at
		line := appendLine(nil, &clock{}, &r)
		if i := bytes.IndexByte(line, '\n'); i != len(line)-1 {
			t.Fatalf("end of line at %d of %d", i, len(line))
		}
		for i, c := range string(line[:len(line)-1]) {
			if c < 0x20 || c >= 0x7f && c < 0xa0 {
				t.Fatalf("%U at %d", c, i)
			}
		}
		var got struct {
			Path  string `json:"path"`
			Query string `json:"query"`
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if utf8.ValidString(path) && len(path) <= MaxField && got.Path != path {
			t.Fatalf("path %q came back as %q", path, got.Path)
		}
	})
}

func TestEncodingDoesNotAlloc(t *testing.T) {
	r := sample()
	var c clock
	buf := make([]byte, 0, 1<<16)
	if n := testing.AllocsPerRun(1000, func() {
		r.StartUnixNano += 1e9
		buf = appendLine(buf[:0], &c, &r)
	}); n != 0 {
		t.Errorf("%v allocations a line, want 0", n)
	}
}

func BenchmarkLine(b *testing.B) {
	r := sample()
	var c clock
	buf := make([]byte, 0, 1<<16)
	b.ReportAllocs()
	for b.Loop() {
		r.StartUnixNano += 20_000
		buf = appendLine(buf[:0], &c, &r)
	}
	b.SetBytes(int64(len(buf)))
}
