package clienthello_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/clienthello"
)

// first is what a client of crypto/tls sends first.
func first(t testing.TB, c *tls.Config) []byte {
	t.Helper()
	c.InsecureSkipVerify = true
	conn := &memory{}
	err := tls.Client(conn, c).Handshake()
	if !errors.Is(err, io.EOF) {
		t.Fatalf("handshake: %v", err)
	}
	return conn.out.Bytes()
}

// memory is a connection whose peer sends in and closes.
type memory struct {
	in  bytes.Reader
	out bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error)     { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error)    { return m.out.Write(p) }
func (*memory) Close() error                     { return nil }
func (*memory) LocalAddr() net.Addr              { return nil }
func (*memory) RemoteAddr() net.Addr             { return nil }
func (*memory) SetDeadline(time.Time) error      { return nil }
func (*memory) SetReadDeadline(time.Time) error  { return nil }
func (*memory) SetWriteDeadline(time.Time) error { return nil }

// theirs is what crypto/tls reads out of a client's first bytes; nil: it does not
// come so far.
func theirs(t testing.TB, in []byte) *tls.ClientHelloInfo {
	t.Helper()
	var seen *tls.ClientHelloInfo
	stop := errors.New("enough")
	conn := &memory{}
	conn.in.Reset(in)
	server := tls.Server(conn, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = info
		return nil, stop
	}})
	_ = server.HandshakeContext(context.Background())
	return seen
}

// cut puts the one record of hello into records of n bytes.
func cut(hello []byte, n int) []byte {
	var out []byte
	for rest := hello[5:]; len(rest) > 0; {
		k := min(n, len(rest))
		out = append(out, hello[0], hello[1], hello[2], byte(k>>8), byte(k))
		out = append(out, rest[:k]...)
		rest = rest[k:]
	}
	return out
}

// record wraps a handshake message of the given type.
func record(kind byte, body []byte) []byte {
	n := len(body)
	return slices.Concat([]byte{22, 3, 1, byte((n + 4) >> 8), byte(n + 4), kind, byte(n >> 16), byte(n >> 8), byte(n)}, body)
}

// hello makes a ClientHello with the given extensions, each type and data.
func hello(extensions ...string) []byte {
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0, 0, 2, 0x13, 0x01, 1, 0})
	all := strings.Join(extensions, "")
	return record(1, append(append(body, byte(len(all)>>8), byte(len(all))), all...))
}

func extension(kind byte, data string) string {
	return string([]byte{0, kind, byte(len(data) >> 8), byte(len(data))}) + data
}

// sni is the extension server_name with a list of names of the type host.
func sni(names ...string) string {
	var list string
	for _, n := range names {
		list += "\x00" + string([]byte{byte(len(n) >> 8), byte(len(n))}) + n
	}
	return extension(0, string([]byte{byte(len(list) >> 8), byte(len(list))})+list)
}

func collect(h *clienthello.Hello) (out []string) {
	for p := range h.Protocols {
		out = append(out, string(p))
	}
	return out
}

// groups are those that the client has.
func groups(h *clienthello.Hello) (out []tls.CurveID) {
	for g := range h.Groups {
		out = append(out, tls.CurveID(g))
	}
	return out
}

func TestPeekSaysWhatCryptoTLSReads(t *testing.T) {
	configs := map[string]*tls.Config{
		"name and protocols": {ServerName: "www.shop.test", NextProtos: []string{"h2", "http/1.1"}},
		"upper case":         {ServerName: "WWW.Shop.Test"},
		"no name":            {},
		"an address":         {ServerName: "192.0.2.1"},
		"TLS 1.2 alone":      {ServerName: "old.shop.test", MaxVersion: tls.VersionTLS12, NextProtos: []string{"x"}},
		"one group":          {ServerName: "a.test", CurvePreferences: []tls.CurveID{tls.CurveP384}},
		"many protocols":     {ServerName: "a.test", NextProtos: slices.Repeat([]string{"protocol"}, 400)},
	}
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			in := first(t, c)
			want := theirs(t, in)
			for _, size := range []int{1 << 14, 200, 64} {
				cutIn := cut(in, size)
				if len(cutIn)/(size+5) >= 64 {
					continue // more records than are read
				}
				got, _ := clienthello.Peek(cutIn, nil)
				if got.Status != clienthello.Done || string(got.Hello.ServerName) != want.ServerName || !slices.Equal(collect(&got.Hello), want.SupportedProtos) ||
					!slices.Equal(groups(&got.Hello), want.SupportedCurves) {
					t.Errorf("records of %d: %+v, want %q, %q and %v", size, got, want.ServerName, want.SupportedProtos, want.SupportedCurves)
				}
			}
		})
	}
}

func TestWhatTwoReadersCouldReadDifferentlyIsRefused(t *testing.T) {
	ok := hello(sni("a.test"))
	long := slices.Concat(ok[:5], ok[5:])
	cases := []struct {
		name   string
		in     []byte
		reason clienthello.Reason
	}{
		{"a request", []byte("GET / HTTP/1.1\r\n"), clienthello.NotTLS},
		{"an alert", []byte{21, 3, 1}, clienthello.NotTLS},
		{"SSL 2", []byte{0x80, 0x2e}, clienthello.NotTLS},
		{"version 2 in the record", []byte{22, 2, 0, 0, 5}, clienthello.NotTLS},
		{"an empty record", []byte{22, 3, 1, 0, 0}, clienthello.BadRecord},
		{"a record that is too large", []byte{22, 3, 1, 0x40, 1}, clienthello.BadRecord},
		{"another message", record(2, ok[9:]), clienthello.NotClientHello},
		{"a message that is too large", []byte{22, 3, 1, 0, 4, 1, 0, 0x40, 0}, clienthello.TooLarge},
		{"too many records", cut(hello(sni(strings.Repeat("a", 100)+".test")), 2), clienthello.TooLarge},
		{"nothing in it", record(1, nil), clienthello.Malformed},
		{"an impossible version", record(1, append([]byte{2, 9}, ok[11:]...)), clienthello.Malformed},
		{"a session id that is too long", record(1, slices.Concat(ok[9:43], []byte{33}, make([]byte, 33), ok[44:])), clienthello.Malformed},
		{"no cipher suites", record(1, slices.Concat(ok[9:44], []byte{0, 0, 1, 0})), clienthello.Malformed},
		{"half a cipher suite", record(1, slices.Concat(ok[9:44], []byte{0, 1, 0, 1, 0})), clienthello.Malformed},
		{"bytes behind the extensions", record(1, append(bytes.Clone(long[9:]), 0)), clienthello.Malformed},
		{"an extension beyond the end", hello("\x00\x00\x00\x09ab"), clienthello.Malformed},
		{"an empty list of names", hello(extension(0, "\x00\x00")), clienthello.Malformed},
		{"two names", hello(sni("a.test", "b.test")), clienthello.BadName},
		{"two extensions with names", hello(sni("a.test"), sni("a.test")), clienthello.RepeatedExtension},
		{"two lists of protocols", hello(extension(16, "\x00\x03\x02h2"), extension(16, "\x00\x03\x02h2")), clienthello.RepeatedExtension},
		{"a name of another type", hello(extension(0, "\x00\x04\x01\x00\x01a")), clienthello.BadName},
		{"an empty name", hello(sni("")), clienthello.BadName},
		{"a trailing dot", hello(sni("a.test.")), clienthello.BadName},
		{"an empty label", hello(sni("a..test")), clienthello.BadName},
		{"a space", hello(sni("a b.test")), clienthello.BadName},
		{"NUL", hello(sni("a.test\x00.b")), clienthello.BadName},
		{"a port", hello(sni("a.test:443")), clienthello.BadName},
		{"a name that is too long", hello(sni(strings.Repeat("a", 254))), clienthello.BadName},
		{"an empty protocol", hello(extension(16, "\x00\x01\x00")), clienthello.Malformed},
		{"no protocols", hello(extension(16, "\x00\x00")), clienthello.Malformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, _ := clienthello.Peek(c.in, nil); got.Status != clienthello.Failed || got.Reason != c.reason {
				t.Errorf("%v %s, want %s", got.Status, got.Reason, c.reason)
			}
			for n := range len(c.in) + 1 {
				got, _ := clienthello.Peek(c.in[:n], nil)
				if got.Status == clienthello.Failed && got.Reason == c.reason {
					return
				}
				if got.Status != clienthello.NeedMore {
					t.Fatalf("after %d bytes: %v %s", n, got.Status, got.Reason)
				}
			}
			t.Error("byte by byte it is never refused")
		})
	}
}

func TestAHelloMayComeByteByByte(t *testing.T) {
	in := cut(first(t, &tls.Config{ServerName: "www.shop.test"}), 100)
	var scratch []byte
	var got clienthello.Result
	for n := range len(in) + 1 {
		got, scratch = clienthello.Peek(in[:n], scratch)
		if done := n == len(in); (got.Status == clienthello.Done) != done {
			t.Fatalf("after %d of %d bytes: %+v", n, len(in), got)
		}
	}
	if string(got.Hello.ServerName) != "www.shop.test" {
		t.Errorf("name %q", got.Hello.ServerName)
	}
}

func TestKeySharesAreThoseOfWhichTheClientHasSentItsPart(t *testing.T) {
	shares := func(in []byte) (out []tls.CurveID) {
		got, _ := clienthello.Peek(in, nil)
		if got.Status != clienthello.Done {
			t.Errorf("%+v", got)
		}
		for g := range got.Hello.KeyShares {
			out = append(out, tls.CurveID(g))
		}
		return out
	}
	one := func(group tls.CurveID) []tls.CurveID { return []tls.CurveID{group} }
	if got := shares(first(t, &tls.Config{ServerName: "a.test", CurvePreferences: one(tls.CurveP521)})); !slices.Equal(got, one(tls.CurveP521)) {
		t.Errorf("of a client with P-521 alone: %v", got)
	}
	if got := shares(first(t, &tls.Config{ServerName: "a.test", MaxVersion: tls.VersionTLS12})); got != nil {
		t.Errorf("of TLS 1.2: %v", got)
	}
	const x25519, p256 = "\x00\x1d\x00\x02ab", "\x00\x17\x00\x01c"
	if got := shares(hello(extension(51, "\x00\x0b"+x25519+p256))); !slices.Equal(got, []tls.CurveID{tls.X25519, tls.CurveP256}) {
		t.Errorf("of two: %v", got)
	}
	for _, bad := range []string{"", "\x00", "\x00\x05" + p256 + "x", "\x00\x04" + p256[:4], "\x00\x05\x00\x17\x00\x02c", "\x00\x06" + p256 + "\x00", "\x00\x07" + p256 + "\x00\x1d"} {
		if got := shares(hello(extension(51, bad))); got != nil {
			t.Errorf("of a malformed list %q: %v", bad, got)
		}
	}
}

func TestAHelloWithoutExtensionsAsksForNothing(t *testing.T) {
	in := record(1, slices.Concat([]byte{3, 1}, make([]byte, 32), []byte{0, 0, 2, 0, 47, 1, 0}))
	got, _ := clienthello.Peek(append(in, "what follows"...), nil)
	if got.Status != clienthello.Done || len(got.Hello.ServerName) > 0 || collect(&got.Hello) != nil {
		t.Errorf("%+v", got)
	}
}

func TestPeekingAllocatesNothing(t *testing.T) {
	in := first(t, &tls.Config{ServerName: "www.shop.test", NextProtos: []string{"h2"}})
	fragments, scratch := cut(in, 100), make([]byte, 0, clienthello.MaxBytes)
	if n := testing.AllocsPerRun(10, func() {
		clienthello.Peek(in, nil)
		clienthello.Peek(in[:100], nil)
		_, scratch = clienthello.Peek(fragments, scratch)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzPeek holds Peek against crypto/tls: where both understand a hello they say
// the same, and nothing is understood twice.
func FuzzPeek(f *testing.F) {
	in := first(f, &tls.Config{ServerName: "www.shop.test", NextProtos: []string{"h2", "http/1.1"}})
	f.Add(in)
	f.Add(cut(in, 100))
	f.Add(hello(sni("a.test")))
	f.Add(hello(extension(16, "\x00\x03\x02h2"), sni("b.test")))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, scratch := clienthello.Peek(in, nil)
		if whole.Status == clienthello.Done {
			name, protocols := string(whole.Hello.ServerName), collect(&whole.Hello)
			if want := theirs(t, in); want != nil && (name != want.ServerName || !slices.Equal(protocols, want.SupportedProtos) || !slices.Equal(groups(&whole.Hello), want.SupportedCurves)) {
				t.Fatalf("%q %q %v, crypto/tls: %q %q %v", name, protocols, groups(&whole.Hello), want.ServerName, want.SupportedProtos, want.SupportedCurves)
			}
		}
		for n := range min(len(in), 2048) {
			var got clienthello.Result
			got, scratch = clienthello.Peek(in[:n], scratch)
			if got.Status != clienthello.NeedMore && (got.Status != whole.Status || got.Reason != whole.Reason) {
				t.Fatalf("after %d bytes %v %s, of all %v %s", n, got.Status, got.Reason, whole.Status, whole.Reason)
			}
		}
	})
}
