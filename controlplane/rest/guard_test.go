package rest

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestGuardRefusesForeignOriginsAndRebindingHosts(t *testing.T) {
	for _, c := range []struct {
		bound, host, origin string
		allowed             bool
	}{
		{"127.0.0.1:7400", "127.0.0.1:7400", "", true},
		{"127.0.0.1:7400", "localhost:7400", "", true},
		{"127.0.0.1:7400", "localhost", "", true},
		{"127.0.0.1:7400", "fleet.localhost:7400", "", true},
		{"127.0.0.1:7400", "LOCALHOST.:7400", "", true},
		{"127.0.0.1:7400", "localhost:9000", "", true}, // through a tunnel
		{"127.0.0.1:7400", "[::1]:7400", "", true},
		{"127.0.0.1:7400", "127.0.0.9:7400", "", true},
		{"127.0.0.1:7400", "evil.test:7400", "", false},
		{"127.0.0.1:7400", "evil.test", "", false},
		{"127.0.0.1:7400", "localhost.evil.test:7400", "", false},
		{"127.0.0.1:7400", "127.0.0.1.evil.test:7400", "", false},
		{"127.0.0.1:7400", "10.0.0.1:7400", "", false},
		{"127.0.0.1:7400", "", "", false},
		{"[::1]:7400", "[::1]:7400", "", true},
		{"[::1]:7400", "evil.test", "", false},

		{"127.0.0.1:7400", "127.0.0.1:7400", "http://127.0.0.1:7400", true},
		{"127.0.0.1:7400", "localhost:7400", "http://LocalHost:7400", true},
		{"127.0.0.1:7400", "localhost:7400", "http://127.0.0.1:7400", false},
		{"127.0.0.1:7400", "127.0.0.1:7400", "http://127.0.0.1:8080", false},
		{"127.0.0.1:7400", "127.0.0.1:7400", "https://evil.test", false},
		{"127.0.0.1:7400", "127.0.0.1:7400", "null", false},
		{"127.0.0.1:7400", "127.0.0.1:7400", "127.0.0.1:7400", false},

		// With --insecure any name may lead here, but pages of others still may not.
		{"10.0.0.5:7400", "fleet.corp.test:7400", "", true},
		{"10.0.0.5:7400", "fleet.corp.test:7400", "https://fleet.corp.test:7400", true},
		{"10.0.0.5:7400", "fleet.corp.test:7400", "https://evil.test", false},
	} {
		r := &http.Request{Host: c.host, Header: http.Header{}}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		err := guard{bound: netip.MustParseAddrPort(c.bound)}.check(r)
		if (err == nil) != c.allowed {
			t.Errorf("bound %s, host %q, origin %q: got %v", c.bound, c.host, c.origin, err)
		}
	}
	r := &http.Request{Host: "127.0.0.1", Header: http.Header{"Origin": {"http://127.0.0.1", "http://evil.test"}}}
	if (guard{bound: netip.MustParseAddrPort("127.0.0.1:1")}).check(r) == nil {
		t.Error("two Origin fields are allowed")
	}
}
