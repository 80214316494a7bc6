package table

import (
	"bytes"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

func TestALocationSaysNoMoreThanItMust(t *testing.T) {
	for _, tc := range []struct {
		name      string
		redirect  Redirect
		authority string
		path      string
		query     string // "-": none
		want      string
	}{
		{"path alone is a reference without host", Redirect{Change: PathReplace, Path: "/new"}, "shop.test:8080", "/old", "a=1", "/new"},
		{"query kept", Redirect{Change: PathReplace, Path: "/new", KeepQuery: true}, "shop.test", "/old", "a=1", "/new?a=1"},
		{"empty query kept", Redirect{Change: PathReplace, Path: "/new", KeepQuery: true}, "shop.test", "/old", "", "/new?"},
		{"no query", Redirect{Change: PathReplace, Path: "/new", KeepQuery: true}, "shop.test", "/old", "-", "/new"},
		{"new scheme means its port", Redirect{Scheme: "https"}, "shop.test:8080", "/x", "-", "https://shop.test/x"},
		{"same scheme keeps the port", Redirect{Scheme: "http"}, "shop.test:8080", "/x", "-", "http://shop.test:8080/x"},
		{"new scheme and port", Redirect{Scheme: "https", Port: 8443}, "shop.test:8080", "/x", "-", "https://shop.test:8443/x"},
		{"default port is left out", Redirect{Scheme: "https", Port: 443}, "shop.test", "/x", "-", "https://shop.test/x"},
		{"new host keeps the port", Redirect{Host: "www.shop.test"}, "shop.test:8080", "/x", "-", "http://www.shop.test:8080/x"},
		{"new port", Redirect{Port: 81}, "shop.test:8080", "/x", "-", "http://shop.test:81/x"},
		{"IPv6 host", Redirect{Port: 81}, "[2001:db8::1]:8080", "/x", "-", "http://[2001:db8::1]:81/x"},
		{"IPv6 host without port", Redirect{Scheme: "https"}, "[2001:db8::1]", "/x", "-", "https://[2001:db8::1]/x"},
		{"prefix", Redirect{Change: PathReplacePrefix, Matched: "/api", Path: "/v2", KeepQuery: true}, "shop.test", "/api/x", "a", "/v2/x?a"},
		{"prefix to root", Redirect{Change: PathReplacePrefix, Matched: "/api", Path: "/"}, "shop.test", "/api/x", "-", "/x"},
		{"never a reference to another host", Redirect{Change: PathReplacePrefix, Matched: "/", Path: "/"}, "shop.test", "//evil.test/x", "-", "/.//evil.test/x"},
		{"never by a cut prefix", Redirect{Change: PathReplacePrefix, Matched: "/a", Path: "/"}, "shop.test", "/a//evil.test", "-", "/.//evil.test"},
		{"asterisk", Redirect{Scheme: "https"}, "shop.test", "", "-", "https://shop.test/"},
		{"fields cannot be split", Redirect{Scheme: "https", KeepQuery: true}, "shop.test\r\nx: y", "/a\r\nb", "q\r\nz", "https://shop.test%0D%0Ax:%20y/a%0D%0Ab?q%0D%0Az"},
		{"no user information", Redirect{Scheme: "https"}, "a@evil.test", "/", "-", "https://a%40evil.test/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			query, has := []byte(tc.query), tc.query != "-"
			got := string(tc.redirect.AppendLocation([]byte("x"), "http", []byte(tc.authority), []byte(tc.path), query, has))
			if got != "x"+tc.want {
				t.Errorf("got %q, want %q", got, "x"+tc.want)
			}
		})
	}
}

// The table of the Gateway API for ReplacePrefixMatch, and ours for "/".
func TestAPrefixIsReplacedWithoutAddingOrLosingASlash(t *testing.T) {
	for _, tc := range []struct{ path, matched, text, want string }{
		{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz", "/xyz/bar"},
		{"/foo/bar", "/foo/", "/xyz/", "/xyz/bar"},
		{"/foo", "/foo", "/xyz", "/xyz"},
		{"/foo", "/foo", "/xyz/", "/xyz/"},
		{"/foo/", "/foo", "/xyz", "/xyz/"},
		{"/foo/", "/foo", "/xyz/", "/xyz/"},
		{"/foo", "/foo", "/", "/"},
		{"/foo/", "/foo", "/", "/"},
		{"/foo/bar", "/foo", "/", "/bar"},
		{"/", "/", "/xyz", "/xyz/"},
		{"/bar", "/", "/xyz", "/xyz/bar"},
		{"/a%2Fb/c", "/a%2Fb", "/x", "/x/c"},
		{"", "/", "/x", ""},
	} {
		rw := Rewrite{Change: PathReplacePrefix, Matched: tc.matched, Path: tc.text}
		if got := string(rw.AppendPath(nil, []byte(tc.path))); got != tc.want {
			t.Errorf("%s with %s → %s: got %q, want %q", tc.path, tc.matched, tc.text, got, tc.want)
		}
	}
}

func TestWhatARegexMakesOfAPathIsAPath(t *testing.T) {
	for _, tc := range []struct{ path, pattern, substitution, want string }{
		{"/users/7/orders", `^/users/(\d+)/(.*)$`, "/$2?user=$1", "/orders%3Fuser=7"},
		{"/users/7", `^/users/(?P<id>\d+)$`, "/u-${id}-x", "/u-7-x"},
		{"/a/b/a", `a`, "c", "/c/b/c"},
		{"/.b./secret", `b`, "", "/secret"}, // no ".." comes to be
		{"/a/b", `^/a/`, "", "/b"},          // no path without "/"
		{"/a", `a`, "ä b", "/%C3%A4%20b"},
		{"/a", `a`, "%", "/%25"},
		{"/a00", `a`, "%", "/a00"}, // "%00" is no path: nothing changes
		{"/x", `nothing`, "y", "/x"},
	} {
		rw := Rewrite{Change: PathReplaceRegex, Regex: regexp.MustCompile(tc.pattern), Substitution: tc.substitution}
		if got := string(rw.AppendPath(nil, []byte(tc.path))); got != tc.want {
			t.Errorf("%s with %s → %s: got %q, want %q", tc.path, tc.pattern, tc.substitution, got, tc.want)
		}
	}
}

func TestPlainRewritesDoNotAllocate(t *testing.T) {
	rw := Rewrite{Change: PathReplacePrefix, Matched: "/api", Path: "/v2"}
	r := Redirect{Scheme: "https", Change: PathReplacePrefix, Matched: "/api", Path: "/v2", KeepQuery: true}
	path, authority, dst := []byte("/api/orders"), []byte("shop.test:80"), make([]byte, 0, 256)
	if got := testing.AllocsPerRun(100, func() {
		rw.AppendPath(dst, path)
		r.AppendLocation(dst, "http", authority, path, path, true)
	}); got != 0 {
		t.Errorf("allocates %v times", got)
	}
}

// FuzzLocation: whatever the client sent, the answer is one field value, and a
// browser that follows it stays on a host that the route or the request names.
func FuzzLocation(f *testing.F) {
	f.Add("shop.test:80", "//evil.test/x", "a=1", uint8(0))
	f.Add("a@b", "/\\evil.test", "\r\n", uint8(7))
	f.Fuzz(func(t *testing.T, authority, path, query string, kind uint8) {
		r := Redirect{KeepQuery: kind&1 != 0}
		if kind&2 != 0 {
			r.Scheme = "https"
		}
		if kind&4 != 0 {
			r.Host = "www.shop.test"
		}
		if kind&8 != 0 {
			r.Change, r.Matched, r.Path = PathReplacePrefix, "/", "/"
		}
		if kind&16 != 0 {
			r.Change, r.Matched, r.Path = PathReplacePrefix, "/api", "/"
			path = "/api" + path
		}
		normal, _, problem := message.NormalPath([]byte(path), nil, message.PathOptions{})
		if problem != message.PathOK {
			return
		}
		if r.Change == PathReplacePrefix && !prefixFits(normal, r.Matched) {
			return
		}
		got := r.AppendLocation(nil, "http", []byte(authority), normal, []byte(query), true)
		if bytes.ContainsFunc(got, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			t.Fatalf("%q: %q", path, got)
		}
		base, err := url.Parse("http://shop.test/")
		if err != nil {
			t.Fatal(err)
		}
		to, err := base.Parse(string(got))
		if err != nil {
			return // an authority that NormalHost refuses long before
		}
		switch {
		case r.Host != "" && to.Hostname() != r.Host,
			r.Host == "" && r.Scheme == "" && to.Host != "shop.test",
			to.User != nil:
			t.Fatalf("authority %q path %q: %q leads to %q", authority, path, got, to.Host)
		}
	})
}

// FuzzRewrite: the path stays one path in normal form.
func FuzzRewrite(f *testing.F) {
	f.Add("/a/b", "a", "$0/../x")
	f.Add("/.b./x", "b", "")
	f.Fuzz(func(t *testing.T, path, pattern, substitution string) {
		regex, err := regexp.Compile(pattern)
		if err != nil || strings.Contains(substitution, "$") || len(path) > 200 || len(pattern) > 40 {
			return
		}
		normal, _, problem := message.NormalPath([]byte(path), nil, message.PathOptions{})
		if problem != message.PathOK {
			return
		}
		for _, rw := range []Rewrite{
			{Change: PathReplaceRegex, Regex: regex, Substitution: substitution},
			{Change: PathReplacePrefix, Matched: "/a", Path: "/x"},
		} {
			if rw.Change == PathReplacePrefix && !prefixFits(normal, rw.Matched) {
				continue
			}
			got := rw.AppendPath(nil, normal)
			again, _, problem := message.NormalPath(got, nil, message.PathOptions{})
			if problem != message.PathOK || !bytes.Equal(again, got) {
				t.Fatalf("%q: %q is not in normal form (%v, %q)", path, got, problem, again)
			}
		}
	})
}
