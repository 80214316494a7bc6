package proxyproto_test

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/proxyproto"
)

const signature = "\r\n\r\n\x00\r\nQUIT\n"

// v2 makes a header of version 2 from its parts.
func v2(command, family byte, block string) string {
	return signature + string([]byte{command, family, byte(len(block) >> 8), byte(len(block))}) + block
}

const (
	block4 = "\xc0\x00\x02\x01\xc6\x33\x64\x07\x12\x34\x01\xbb" // 192.0.2.1:4660 to 198.51.100.7:443
	noop   = "\x04\x00\x02ab"
)

var block6 = string(netip.MustParseAddr("2001:db8::1").AsSlice()) + string(netip.MustParseAddr("2001:db8::2").AsSlice()) + "\x12\x34\x01\xbb"

// summed puts the right checksum into a header that has its TLV with zeros.
func summed(header string) string {
	b := []byte(header)
	at := strings.Index(header, "\x03\x00\x04\x00\x00\x00\x00") + 3
	binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

type headerCase struct {
	name     string
	in       string
	status   proxyproto.Status
	reason   proxyproto.Reason
	from, to string // empty: none
	local    bool
	rest     int // bytes behind the header
}

func cases() []headerCase {
	const done, absent, refused = proxyproto.Done, proxyproto.Absent, proxyproto.Failed
	return []headerCase{
		{name: "v1 TCP4", in: "PROXY TCP4 192.0.2.1 198.51.100.7 4660 443\r\n", status: done, from: "192.0.2.1:4660", to: "198.51.100.7:443"},
		{name: "v1 TCP6", in: "PROXY TCP6 2001:db8::1 2001:db8::2 4660 443\r\n", status: done, from: "[2001:db8::1]:4660", to: "[2001:db8::2]:443"},
		{name: "v1 IPv4 within TCP6", in: "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.7 1 65535\r\n", status: done, from: "192.0.2.1:1", to: "198.51.100.7:65535"},
		{name: "v1 the longest", in: "PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", status: done},
		{name: "v1 UNKNOWN", in: "PROXY UNKNOWN\r\nGET", status: done, rest: 3},
		{name: "v1 UNKNOWN with words", in: "PROXY UNKNOWN ffff::1 nonsense\r\n", status: done},
		{name: "v1 port 0", in: "PROXY TCP4 192.0.2.1 198.51.100.7 0 0\r\n", status: done, from: "192.0.2.1:0", to: "198.51.100.7:0"},
		{name: "v1 followed by a request", in: "PROXY TCP4 192.0.2.1 198.51.100.7 4660 443\r\nGET / HTTP/1.1\r\n", status: done, from: "192.0.2.1:4660", to: "198.51.100.7:443", rest: 16},
		{name: "v1 too long", in: "PROXY UNKNOWN " + strings.Repeat("f", 92) + "\r\n", status: refused, reason: proxyproto.LineTooLong},
		{name: "v1 bare LF", in: "PROXY UNKNOWN\n", status: refused, reason: proxyproto.BareLF},
		{name: "v1 family in lower case", in: "PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n", status: refused, reason: proxyproto.BadFamily},
		{name: "v1 no family", in: "PROXY \r\n", status: refused, reason: proxyproto.BadFamily},
		{name: "v1 family alone", in: "PROXY TCP4\r\n", status: refused, reason: proxyproto.BadLine},
		{name: "v1 too few words", in: "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n", status: refused, reason: proxyproto.BadLine},
		{name: "v1 too many words", in: "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n", status: refused, reason: proxyproto.BadLine},
		{name: "v1 two spaces", in: "PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n", status: refused, reason: proxyproto.BadLine},
		{name: "v1 space at the end", in: "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n", status: refused, reason: proxyproto.BadLine},
		{name: "v1 tab", in: "PROXY TCP4\t192.0.2.1 198.51.100.7 1 2\r\n", status: refused, reason: proxyproto.BadFamily},
		{name: "v1 address of the other family", in: "PROXY TCP4 2001:db8::1 198.51.100.7 1 2\r\n", status: refused, reason: proxyproto.BadAddress},
		{name: "v1 IPv4 address in TCP6", in: "PROXY TCP6 192.0.2.1 2001:db8::2 1 2\r\n", status: refused, reason: proxyproto.BadAddress},
		{name: "v1 address with a zone", in: "PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", status: refused, reason: proxyproto.BadAddress},
		{name: "v1 leading zero in an address", in: "PROXY TCP4 192.0.02.1 198.51.100.7 1 2\r\n", status: refused, reason: proxyproto.BadAddress},
		{name: "v1 port too large", in: "PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n", status: refused, reason: proxyproto.BadPort},
		{name: "v1 port with a leading zero", in: "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n", status: refused, reason: proxyproto.BadPort},
		{name: "v1 port with a sign", in: "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n", status: refused, reason: proxyproto.BadPort},

		{name: "v2 TCP4", in: v2(0x21, 0x11, block4), status: done, from: "192.0.2.1:4660", to: "198.51.100.7:443"},
		{name: "v2 TCP6", in: v2(0x21, 0x21, block6) + "x", status: done, from: "[2001:db8::1]:4660", to: "[2001:db8::2]:443", rest: 1},
		{name: "v2 LOCAL", in: v2(0x20, 0x00, ""), status: done, local: true},
		{name: "v2 LOCAL skips what it does not know", in: v2(0x20, 0x77, "whatever"), status: done, local: true},
		{name: "v2 without a family", in: v2(0x21, 0x00, "\x01\x02\x03"), status: done},
		{name: "v2 datagrams", in: v2(0x21, 0x12, block4), status: done},
		{name: "v2 datagrams over IPv6", in: v2(0x21, 0x22, block6), status: done},
		{name: "v2 UNIX stream", in: v2(0x21, 0x31, strings.Repeat("u", 216)), status: done},
		{name: "v2 UNIX datagrams", in: v2(0x21, 0x32, strings.Repeat("u", 216)+noop), status: done},
		{name: "v2 with TLVs", in: v2(0x21, 0x11, block4+noop+"\xe0\x00\x00"), status: done, from: "192.0.2.1:4660", to: "198.51.100.7:443"},
		{name: "v2 with a checksum", in: summed(v2(0x21, 0x11, block4+noop+"\x03\x00\x04\x00\x00\x00\x00"+noop)), status: done, from: "192.0.2.1:4660", to: "198.51.100.7:443"},
		{name: "v2 as large as may be", in: v2(0x21, 0x00, strings.Repeat("t", proxyproto.MaxBytes-16)), status: done},
		{name: "v2 version 1", in: v2(0x11, 0x11, block4), status: refused, reason: proxyproto.BadVersion},
		{name: "v2 unknown command", in: v2(0x22, 0x11, block4), status: refused, reason: proxyproto.BadCommand},
		{name: "v2 unknown family", in: v2(0x21, 0x41, block4), status: refused, reason: proxyproto.BadFamily},
		{name: "v2 family without transport", in: v2(0x21, 0x10, block4), status: refused, reason: proxyproto.BadFamily},
		{name: "v2 short TCP4", in: v2(0x21, 0x11, block4[:11]), status: refused, reason: proxyproto.ShortAddresses},
		{name: "v2 short TCP6", in: v2(0x21, 0x21, block6[:35]), status: refused, reason: proxyproto.ShortAddresses},
		{name: "v2 short UNIX", in: v2(0x21, 0x31, strings.Repeat("u", 215)), status: refused, reason: proxyproto.ShortAddresses},
		{name: "v2 too large", in: v2(0x21, 0x00, strings.Repeat("t", proxyproto.MaxBytes-15)), status: refused, reason: proxyproto.TooLarge},
		{name: "v2 TLV beyond the end", in: v2(0x21, 0x11, block4+"\x04\x00\x03ab"), status: refused, reason: proxyproto.BadTLV},
		{name: "v2 half a TLV head", in: v2(0x21, 0x11, block4+"\x04\x00"), status: refused, reason: proxyproto.BadTLV},
		{name: "v2 checksum of the wrong size", in: v2(0x21, 0x11, block4+"\x03\x00\x02ab"), status: refused, reason: proxyproto.BadTLV},
		{name: "v2 two checksums", in: v2(0x21, 0x11, block4+"\x03\x00\x04abcd\x03\x00\x04abcd"), status: refused, reason: proxyproto.BadTLV},
		{name: "v2 wrong checksum", in: v2(0x21, 0x11, block4+"\x03\x00\x04abcd"), status: refused, reason: proxyproto.BadChecksum},

		{name: "a request", in: "GET / HTTP/1.1\r\n", status: absent},
		{name: "a request with a method like ours", in: "PROXYING / HTTP/1.1\r\n", status: absent},
		{name: "a ClientHello", in: "\x16\x03\x01", status: absent},
		{name: "empty lines before a request", in: "\r\n\r\nGET / HTTP/1.1\r\n", status: absent},
		{name: "the signature but for its end", in: signature[:11] + "X", status: absent},
	}
}

func check(t *testing.T, c headerCase, got proxyproto.Result) {
	t.Helper()
	want := proxyproto.Result{Status: c.status, Reason: c.reason, Header: proxyproto.Header{Local: c.local}}
	if c.status == proxyproto.Done {
		want.N = len(c.in) - c.rest
		want.Header.Version = 1
		if c.in[0] == '\r' {
			want.Header.Version = 2
		}
	}
	if c.from != "" {
		want.Header.Source, want.Header.Destination = netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.to)
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestHeadersAreReadOrRefusedAsTheSpecificationSays(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) { check(t, c, proxyproto.Parse([]byte(c.in))) })
	}
}

func TestTheResultDoesNotDependOnHowBytesCome(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			for n := range len(c.in) + 1 {
				if got := proxyproto.Parse([]byte(c.in[:n])); got.Status != proxyproto.NeedMore {
					check(t, c, got)
					return
				}
			}
			t.Error("it never ends")
		})
	}
}

func TestBytesBehindAHeaderMeanNothing(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			if c.status == proxyproto.NeedMore {
				return
			}
			got := proxyproto.Parse([]byte(c.in + "PROXY\r\n\r\n\x00"))
			check(t, c, got)
		})
	}
}

func TestEveryReasonHasACaseAndAName(t *testing.T) {
	for _, reason := range proxyproto.Reasons() {
		if reason.String() == "" || reason.String() == "unknown" {
			t.Errorf("reason %d has no name", reason)
		}
		if !slices.ContainsFunc(cases(), func(c headerCase) bool { return c.reason == reason }) {
			t.Errorf("%s has no case", reason)
		}
	}
}

func TestParsingVersion2AllocatesNothing(t *testing.T) {
	for _, c := range cases() {
		if c.in[0] == 'P' {
			continue
		}
		in := []byte(c.in)
		if n := testing.AllocsPerRun(10, func() { proxyproto.Parse(in) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}
