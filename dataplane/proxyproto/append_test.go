package proxyproto_test

import (
	"bufio"
	"bytes"
	"net"
	"net/netip"
	"testing"

	pires "github.com/pires/go-proxyproto"
	"github.com/proxyfleet/proxyfleet/dataplane/proxyproto"
)

var pairs = []struct{ from, to, readFrom, readTo string }{
	{"192.0.2.1:4660", "198.51.100.7:443", "", ""},
	{"[2001:db8::1]:1", "[2001:db8::2]:65535", "", ""},
	{"[::ffff:192.0.2.1]:1", "198.51.100.7:443", "192.0.2.1:1", "198.51.100.7:443"},
	{"192.0.2.1:1", "[2001:db8::2]:2", "192.0.2.1:1", "[2001:db8::2]:2"},
	{"[fe80::1%eth0]:1", "[fe80::2%eth0]:2", "[fe80::1]:1", "[fe80::2]:2"},
}

func TestWhatIsAppendedIsRead(t *testing.T) {
	for _, p := range pairs {
		from, to := netip.MustParseAddrPort(p.from), netip.MustParseAddrPort(p.to)
		wantFrom, wantTo := from, to
		if p.readFrom != "" {
			wantFrom, wantTo = netip.MustParseAddrPort(p.readFrom), netip.MustParseAddrPort(p.readTo)
		}
		for version, header := range [][]byte{proxyproto.AppendV1(nil, from, to), proxyproto.AppendV2(nil, from, to)} {
			got := proxyproto.Parse(header)
			want := proxyproto.Result{
				Status: proxyproto.Done, N: len(header),
				Header: proxyproto.Header{Version: uint8(version + 1), Source: wantFrom, Destination: wantTo},
			}
			if got != want {
				t.Errorf("v%d of %s to %s: %+v", version+1, p.from, p.to, got)
			}
		}
	}
}

func TestAnUnknownEndIsSaidToBeUnknown(t *testing.T) {
	from := netip.MustParseAddrPort("192.0.2.1:4660")
	for version, header := range [][]byte{proxyproto.AppendV1(nil, from, netip.AddrPort{}), proxyproto.AppendV2(nil, netip.AddrPort{}, from)} {
		got := proxyproto.Parse(header)
		if got.Status != proxyproto.Done || got.N != len(header) || got.Header.Source.IsValid() || got.Header.Local {
			t.Errorf("v%d: %+v", version+1, got)
		}
	}
}

// TestAnotherImplementationAgrees holds both directions against go-proxyproto.
func TestAnotherImplementationAgrees(t *testing.T) {
	for _, p := range pairs[:2] {
		from, to := netip.MustParseAddrPort(p.from), netip.MustParseAddrPort(p.to)
		for version, header := range [][]byte{proxyproto.AppendV1(nil, from, to), proxyproto.AppendV2(nil, from, to)} {
			theirs, err := pires.Read(bufio.NewReader(bytes.NewReader(header)))
			if err != nil {
				t.Fatalf("v%d %q: %v", version+1, header, err)
			}
			if theirs.SourceAddr.String() != p.from || theirs.DestinationAddr.String() != p.to {
				t.Errorf("v%d: they read %s to %s", version+1, theirs.SourceAddr, theirs.DestinationAddr)
			}
			sent, err := pires.HeaderProxyFromAddrs(byte(version+1), net.TCPAddrFromAddrPort(from), net.TCPAddrFromAddrPort(to)).Format()
			if err != nil {
				t.Fatal(err)
			}
			if got := proxyproto.Parse(sent); got.Status != proxyproto.Done || got.Header.Source != from || got.Header.Destination != to || got.N != len(sent) {
				t.Errorf("v%d: of theirs %q: %+v", version+1, sent, got)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases() {
		if len(c.in) < 1024 {
			f.Add([]byte(c.in))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := proxyproto.Parse(in)
		if whole.N < 0 || whole.N > len(in) || (whole.Status == proxyproto.Done) != (whole.N > 0) {
			t.Fatalf("%+v of %d bytes", whole, len(in))
		}
		if (whole.Status == proxyproto.Failed) != (whole.Reason != proxyproto.NoReason) {
			t.Fatalf("%+v", whole)
		}
		for n := range in { // the first thing said is the last word
			got := proxyproto.Parse(in[:n])
			if got.Status != proxyproto.NeedMore && got != whole {
				t.Fatalf("after %d bytes %+v, of all %+v", n, got, whole)
			}
		}
		if h := whole.Header; h.Source.IsValid() { // what was read can be said again
			for _, again := range [][]byte{proxyproto.AppendV1(nil, h.Source, h.Destination), proxyproto.AppendV2(nil, h.Source, h.Destination)} {
				got := proxyproto.Parse(again)
				if got.Header.Source != h.Source || got.Header.Destination != h.Destination {
					t.Fatalf("%+v became %+v", h, got)
				}
			}
		}
	})
}
