package message

import (
	"bytes"
	"strings"
	"testing"
)

func TestHostsHaveOneNormalForm(t *testing.T) {
	for raw, want := range map[string]string{
		"shop.test":              "shop.test",
		"Shop.TEST":              "shop.test",
		"shop.test:80":           "shop.test",
		"SHOP.test.:8080":        "shop.test",
		"shop.test.":             "shop.test",
		"shop.test:":             "shop.test",
		"a_b-c.1":                "a_b-c.1",
		"127.0.0.1:80":           "127.0.0.1",
		"[::1]":                  "[::1]",
		"[::1]:80":               "[::1]",
		"[2001:DB8:0:0:0:0:0:1]": "[2001:db8::1]",
		"[::ffff:192.0.2.1]":     "[::ffff:192.0.2.1]",
		strings.Repeat("a", 253): strings.Repeat("a", 253),
	} {
		host, _, ok := NormalHost([]byte(raw), nil)
		if !ok || string(host) != want {
			t.Errorf("%q: %q, %v, want %q", raw, host, ok, want)
		}
	}
	for _, raw := range []string{
		"", ".", "..", "a..", "a..b", ".a", ":80", "a:b", "a:99999", "a:80:80", "a b", "a/b", "a@b", "a%41", "*", "*.a", "a,b", "a\x00",
		"\xc3\xa9", "[", "[]", "[::1", "[::1]x", "[::1]:x", "[1.2.3.4]", "[fe80::1%eth0]", "::1", strings.Repeat("a", 254),
	} {
		if host, _, ok := NormalHost([]byte(raw), nil); ok {
			t.Errorf("%q: %q, want a refusal", raw, host)
		}
	}
}

func TestNormalHostDoesNotAllocateForNames(t *testing.T) {
	scratch := make([]byte, 0, 64)
	for _, raw := range []string{"shop.test", "Shop.TEST:8080", "127.0.0.1."} {
		in := []byte(raw)
		if n := testing.AllocsPerRun(100, func() { _, scratch, _ = NormalHost(in, scratch) }); n != 0 {
			t.Errorf("%q: %v allocations", raw, n)
		}
	}
}

// FuzzNormalHost: a normal host is its own normal form, and ValidAuthority
// agrees about what has one.
func FuzzNormalHost(f *testing.F) {
	for _, seed := range []string{"a.test:80", "A.", "[::1]:80", "..", "a..", "[2001:DB8::1]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		host, _, ok := NormalHost(raw, nil)
		if ok != ValidAuthority(raw) {
			t.Errorf("%q: NormalHost and ValidAuthority disagree", raw)
		}
		if !ok {
			return
		}
		again, scratch, ok := NormalHost(host, nil)
		if !ok || !bytes.Equal(again, host) || host[0] != '[' && scratch != nil {
			t.Errorf("%q: normal form %q becomes %q, %v", raw, host, again, ok)
		}
		if !bytes.Equal(host, bytes.ToLower(host)) || bytes.HasSuffix(host, []byte(".")) {
			t.Errorf("%q: %q", raw, host)
		}
	})
}
