package resource

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

func TestFormatsAcceptWhatTheySay(t *testing.T) {
	good := map[fleetv1.Format][]string{
		fleetv1.Format_ENDPOINT_ADDRESS: {"10.0.0.1:80", "[2001:db8::1]:443", "[fe80::1%eth0]:80", "a:1", "a-b.c_d.e:65535", "unix:/run/x.sock"},
		fleetv1.Format_CIDR:             {"10.0.0.0/8", "10.0.0.1", "2001:db8::/32", "::1", "0.0.0.0/0"},
		fleetv1.Format_REGEX:            {"a", "/a/(b|c)+", `^\d{1,3}$`, "(?P<x>a)"},
		fleetv1.Format_HOST_PATTERN:     {"a", "shop.test", "*.shop.test", "a_b.c", "10.0.0.1", "[::1]", "xn--bcher-kva.test"},
		fleetv1.Format_FIELD_NAME:       {"x-a", "Content-Type", "a!#$%&'*+.^_`|~9"},
		fleetv1.Format_FIELD_VALUE:      {"", "a", "a b\tc", "\u00e9", strings.Repeat("a", maxFieldValue)},
		fleetv1.Format_METHOD:           {"GET", "PROPFIND", "x"},
		fleetv1.Format_PATH:             {"/", "/a", "/a/", "//a", "/a.b", "/%2F", "/%C3%A4", "/a;b=c", "/...", "/.a"},
		fleetv1.Format_LISTEN_ADDRESS:   {"NODE", "vip/shop", "10.0.0.1", "::", "0.0.0.0"},
		fleetv1.Format_RETRY_CONDITION:  {"RESET", "STATUS_5XX", "STATUS_503", "STATUS_400"},
		fleetv1.Format_HOST:             {"a", "a.b:80", "10.0.0.1", "[::1]:80", "[::1]"},
		fleetv1.Format_UPGRADE:          {"websocket", "spdy", "NONE", "x-own"},
		fleetv1.Format_CONNECT_TARGET:   {"a.test:443", "*.a.test:5432", "10.0.0.1:22", "[::1]:22"},
		fleetv1.Format_SINGLE_ADDRESS:   {"10.0.0.1", "10.0.0.1/32", "2001:db8::1", "2001:db8::1/128"},
	}
	for format, texts := range good {
		for _, s := range texts {
			if bad := checkFormat(format, s); bad != nil {
				t.Errorf("%v refuses %q: %+v", format, s, *bad)
			}
		}
	}
}

func TestFormatsRefuseAndSuggest(t *testing.T) {
	tests := map[fleetv1.Format]map[string]string{ // text: suggestion
		fleetv1.Format_ENDPOINT_ADDRESS: {
			"": "", "10.0.0.1": "10.0.0.1:80", "::1": "[::1]:80", "a.b": "a.b:80", "2001:db8::1:80": "[2001:db8::1]:80", "10.0.0.1:0": "", "10.0.0.1:65536": "",
			"10.0.0.1:080": "", "10.0.0.300:80": "", "A.b:80": "a.b:80", "https://a.b:80/": "a.b:80", "unix:run": "", "unix:/" + strings.Repeat("a", 107): "",
			"[::ffff:10.0.0.1]:80": "", "0.0.0.0:80": "", "224.0.0.1:80": "", ":80": "", "a b:80": "", "-a:80": "", "[10.0.0.1]:80": "", "a:+80": "",
		},
		fleetv1.Format_CIDR:  {"": "", "10.1.0.0/8": "10.0.0.0/8", "10.0.0.0/33": "", "a": "", "::ffff:10.0.0.1": "10.0.0.1", "fe80::1%eth0": ""},
		fleetv1.Format_REGEX: {"": "", "([": "", "a{2000}": "", "(?=a)": "", strings.Repeat("a", maxRegex+1): ""},
		fleetv1.Format_HOST_PATTERN: {
			"": "", "*": "", "_": "", "*.": "", "a.*": "", "*.*.a": "", "Shop.Test": "shop.test", "a.b:80": "a.b", "a.b.": "a.b", ".a.b": "*.a.b", "https://a.b/c": "a.b",
			"::1": "[::1]", "a..b": "", "b\u00fccher.test": "", "a b": "", "1.2.3": "", "[::0001]": "[::1]",
		},
		fleetv1.Format_FIELD_NAME:  {"": "", "a b": "", "a:": "a", " a": "a", "\u00e9": "", strings.Repeat("a", 257): ""},
		fleetv1.Format_FIELD_VALUE: {" a ": "a", "a\nb": "", "a\r": "", "a\x00": "", "\x7f": "", strings.Repeat("a", maxFieldValue+1): ""},
		fleetv1.Format_METHOD:      {"": "", "get": "GET", "Post": "POST", "A B": "", "a\n": ""},
		fleetv1.Format_PATH: {
			"": "", "a": "/a", "/a?b=c": "/a", "/a#b": "/a", "/a/../b": "/b", "/./a": "/a", "/a/..": "/", "/%2e%2e/a": "/a", "/%41": "/A", "/%2f": "/%2F", "/a b": "/a%20b",
			"/\u00e4": "/%C3%A4", "/%": "", "/%0": "", "/%zz": "", "/%00": "", `/a\b`: "", "/\n": "", "http://a/b": "", "/" + strings.Repeat("a", maxPath): "", "/[": "/%5B",
		},
		fleetv1.Format_LISTEN_ADDRESS:  {"": "", "node": "NODE", "*": "NODE", "10.0.0.1:80": "10.0.0.1", "VIP/Shop": "vip/shop", "vip/": "", "a.b": "", "fe80::1%eth0": ""},
		fleetv1.Format_RETRY_CONDITION: {"": "", "503": "STATUS_503", "5xx": "STATUS_5XX", "status_503": "STATUS_503", "STATUS_200": "STATUS_5XX", "connect-failure": "CONNECT_FAILURE"},
		fleetv1.Format_HOST:            {"": "", "A.b": "a.b", "a.b:0": "", "a/b": "", "*.a": "", "http://a": ""},
		fleetv1.Format_UPGRADE:         {"": "", "h2c": "", "H2C": "", "HTTP/2.0": "", "WebSocket": "websocket", "websocket/13": "websocket", "none": "NONE", "a b": ""},
		fleetv1.Format_CONNECT_TARGET:  {"": "", "a.test": "a.test:443", "A.test:443": "a.test:443", "a.test:0": "", "a/b:1": "a:1", "*:443": ""},
		fleetv1.Format_SINGLE_ADDRESS:  {"": "", "10.0.0.1/24": "10.0.0.1/32", "::1/64": "::1/128", "10.0.0.1/": "10.0.0.1/32", "a": "", "0.0.0.0": "", "224.0.0.1": ""},
	}
	for format, texts := range tests {
		for s, want := range texts {
			bad := checkFormat(format, s)
			if bad == nil {
				t.Errorf("%v accepts %q", format, s)
				continue
			}
			if bad.suggestion != want {
				t.Errorf("%v: for %q it suggests %q, want %q", format, s, bad.suggestion, want)
			}
			if bad.expected == "" {
				t.Errorf("%v: for %q nothing is expected", format, s)
			}
		}
	}
}

func TestSuggestionsAreGood(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		format := fleetv1.Format(rapid.IntRange(4, 15).Draw(t, "format"))
		s := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9:/.%\[\]*_ -]{0,20}`), rapid.String()).Draw(t, "text")
		bad := checkFormat(format, s)
		if bad == nil || bad.suggestion == "" {
			return
		}
		if again := checkFormat(format, bad.suggestion); again != nil {
			t.Fatalf("%v: for %q it suggests %q, which it refuses", format, s, bad.suggestion)
		}
	})
}

func TestQuantitiesReadAndPrint(t *testing.T) {
	for text, want := range map[string]string{ // read and printed again
		"500ms": "500ms", "90s": "1m30s", "60s": "1m", "3600s": "1h", "1h0m5s": "1h0m5s", "1h30m": "1h30m", "1.5s": "1.5s", "0s": "0s", "1us": "1us", "1ns": "1ns",
		"100m": "1h40m", "24h": "24h", "10m": "10m", "20h": "20h",
	} {
		ns, _, ok := parseDuration(text)
		if got := formatDuration(ns); !ok || got != want {
			t.Errorf("duration %s prints as %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"0": "0B", "1": "1B", "1024": "1KiB", "64KiB": "64KiB", "1536KiB": "1536KiB", "2048KiB": "2MiB", "1TiB": "1TiB", "17B": "17B", "18446744073709551615": "18446744073709551615B",
	} {
		bytes, _, ok := parseSize(text)
		if got := formatSize(bytes); !ok || got != want {
			t.Errorf("size %s prints as %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{"5%": "5%", "0.5%": "0.5%", "100%": "100%", "0%": "0%", "12.50%": "12.5%"} {
		percent, _, ok := parsePercent(text)
		if got := formatPercent(percent); !ok || got != want {
			t.Errorf("percentage %s prints as %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"1000/s", "30/m", "5/h"} {
		count, per, _, ok := parseRate(text)
		if got, printed := formatRate(&fleetv1.Rate{Count: &count, Per: &per}); !ok || !printed || got != text {
			t.Errorf("rate %s prints as %s", text, got)
		}
	}
}

func TestQuantitiesRefuseAndSuggest(t *testing.T) {
	read := map[string]func(string) (string, bool){
		"duration": func(s string) (string, bool) { _, near, ok := parseDuration(s); return near, ok },
		"size":     func(s string) (string, bool) { _, near, ok := parseSize(s); return near, ok },
		"percent":  func(s string) (string, bool) { _, near, ok := parsePercent(s); return near, ok },
		"rate":     func(s string) (string, bool) { _, _, near, ok := parseRate(s); return near, ok },
	}
	for quantity, texts := range map[string]map[string]string{
		"duration": {
			"": "", "5": "5s", "500": "500ms", "5 s": "5s", "5sec": "5s", "1 min": "1m", "2hours": "2h", "1d": "24h", "-1s": "", "+1s": "", "fast": "", "1m30": "", "0": "0s",
			"999999999h": "999999999h", "5 MS": "5ms",
		},
		"size":    {"": "", "64K": "64KiB", "64kb": "64KiB", "1 MiB": "1MiB", "1.5MiB": "", "-1": "", "99999999999TiB": "", "5 bytes": "5B", "x": "", "99999999999999999999": ""},
		"percent": {"": "", "5": "5%", "5 %": "5%", "five%": "", "-5%": "", "5%%": "", "5 percent": "5%", ".": ""},
		"rate":    {"": "", "100": "100/s", "100/sec": "100/s", "30 / m": "30/m", "5rps": "5/s", "fast": "", "1.5/s": "", "-1/s": "", "+1/s": "", "1/d": "", "10/min": "10/m", "/s": ""},
	} {
		for text, want := range texts {
			near, ok := read[quantity](text)
			if ok {
				t.Errorf("%s accepts %q", quantity, text)
			}
			if near != want && near != text {
				t.Errorf("%s: for %q it suggests %q, want %q", quantity, text, near, want)
			}
		}
	}
}

func TestNamesAndLabelsKeepToTheirAlphabets(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "api-v1": true, "a.b": true, "9": true, strings.Repeat("a", 253): true,
		"": false, "A": false, "-a": false, "a-": false, "a..b": false, ".a": false, "a_b": false, "a/b": false, "a b": false, strings.Repeat("a", 254): false, "\u00e9": false,
	} {
		if got := ValidName(name); got != want {
			t.Errorf("name %q: %v", name, got)
		}
	}
	for key, want := range map[string]bool{"team": true, "a.b/c_D": true, "A": true, "": false, "/a": false, "a/": false, "a/b/c": false, "a b": false, "-a": false, strings.Repeat("a", 64): false} {
		if got := checkLabelKey(key) == nil; got != want {
			t.Errorf("label key %q: %v", key, got)
		}
	}
	for value, want := range map[string]bool{"": true, "1.10": true, "A_b": true, "a b": false, "_": false, strings.Repeat("a", 64): false} {
		if got := checkLabelValue(value) == nil; got != want {
			t.Errorf("label value %q: %v", value, got)
		}
	}
	labels := map[string]string{}
	for i := range maxLabels + 1 {
		labels[fmt.Sprint("a", i)] = ""
	}
	c := checker{}
	if c.labels(labels); len(c.values) != 1 {
		t.Errorf("%d labels: %v", len(labels), c.values)
	}
}

func TestNearestFindsWhatWasMeant(t *testing.T) {
	fields := []string{"listeners", "hosts", "match", "priority", "forward", "redirect", "respond", "rewrite", "requestHeaders", "responseHeaders", "timeouts", "forwardRawPath"}
	for s, want := range map[string]string{
		"hots": "hosts", "host": "hosts", "Hosts": "hosts", "request_headers": "requestHeaders", "fowrard": "forward", "redirects": "redirect", "respons": "respond",
		"prioritiy": "priority", "xyz": "", "": "", "hosts": "", strings.Repeat("hosts", 20): "",
	} {
		if got := Nearest(s, fields); got != want {
			t.Errorf("nearest to %q is %q, want %q", s, got, want)
		}
	}
}

func TestDistanceIsSymmetricAndBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[abc]{0,8}`)
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		limit := rapid.IntRange(-1, 8).Draw(t, "limit")
		d, ok := distance(a, b, limit)
		back, okBack := distance(b, a, limit)
		if ok != okBack || ok && (d != back || d > limit || (d == 0) != (a == b)) {
			t.Fatalf("distance of %q and %q within %d is %d, %v; the other way %d, %v", a, b, limit, d, ok, back, okBack)
		}
	})
}

func TestHintsNameFieldsThatExist(t *testing.T) {
	messages := map[string]*messageSchema{}
	var visit func(ms *messageSchema)
	visit = func(ms *messageSchema) {
		messages[ms.name] = ms
		for _, f := range ms.fields {
			if f.message != nil {
				visit(f.message)
			}
		}
	}
	visit(fleetSchema.resource)
	for message, hints := range fieldHints {
		ms := messages[message]
		if ms == nil {
			t.Errorf("there is no message %s", message)
			continue
		}
		for here, elsewhere := range hints {
			isField := !strings.ContainsAny(here, " .")
			if isField && ms.byName[here] == nil && message != "Resource" {
				t.Errorf("%s has no field %s", message, here)
			}
			for name := range strings.FieldsSeq(elsewhere) {
				if name != fold(name) || ms.byName[name] != nil {
					t.Errorf("%s: nothing finds %q", message, name)
				}
			}
		}
	}
	for _, kind := range []string{"backend", "VirtualServer", "vip", "cert", "throttle", "canary", "routes"} {
		if kindHint(kind) == "" && Nearest(kind, kindNames()) == "" {
			t.Errorf("no kind is near %q", kind)
		}
	}
}
