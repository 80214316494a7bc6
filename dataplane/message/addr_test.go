package message

import (
	"net/netip"
	"testing"
)

func TestParseAddrIsThatOfNetipWithoutZones(t *testing.T) {
	for _, text := range []string{"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "", "192.0.2", "192.0.2.01", "::1%", "fe80::1%eth0", "192.0.2.1:80", "[::1]", "unknown"} {
		want, err := netip.ParseAddr(text)
		ok := err == nil && want.Zone() == ""
		got, gotOK := ParseAddr([]byte(text))
		if gotOK != ok || ok && got != want {
			t.Errorf("%q: %v %v, want %v %v", text, got, gotOK, want, ok)
		}
	}
	text := []byte("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { ParseAddr(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
