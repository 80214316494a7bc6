package http1test

import "github.com/proxyfleet/proxyfleet/dataplane/http1"

// targetCases are about the request target.
func targetCases() []Case {
	abs := func(target string) string { return "GET " + target + " HTTP/1.1\r\n" + host + "\r\n" }
	connect := func(target, host string) string {
		return "CONNECT " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	}
	return []Case{
		accept("origin form with query", "9112 3.2.1", request("/a/b?c=d&e"), msg("GET /a/b?c=d&e", "")),
		accept("empty query", "9112 3.2.1", request("/?"), msg("GET /?", "")),
		accept("query with question marks", "3986 3.4", request("/?a?b?"), msg("GET /?a?b?", "")),
		accept("query with slashes", "3986 3.4", request("/?a/../b"), msg("GET /?a/../b", "")),
		accept("characters that browsers leave raw", "design 2", request("/a?b=|{}[]^`\"<>"), msg("GET /a?b=|{}[]^`\"<>", "")),
		accept("two slashes", "9112 3.2.1", request("//a"), msg("GET //a", "")),
		accept("absolute form", "9112 3.2.2", abs("http://shop.test/a?b"), msg("GET http://shop.test/a?b", "")),
		accept("absolute form of https", "9112 3.2.2", abs("https://shop.test/"), msg("GET https://shop.test/", "")),
		accept("absolute form without a path", "9112 3.2.2", abs("http://shop.test"), msg("GET http://shop.test", "")),
		accept("absolute form with a query only", "9112 3.2.2", abs("http://shop.test?q"), msg("GET http://shop.test?q", "")),
		accept("absolute form in capitals", "3986 6.2.2.1", abs("HTTP://SHOP.test/"), msg("GET HTTP://SHOP.test/", "")),
		accept("absolute form without Host in 1.0", "9112 3.2.2", "GET http://shop.test/ HTTP/1.0\r\n\r\n", last("GET http://shop.test/", "")),
		accept("asterisk form", "9112 3.2.4", "OPTIONS * HTTP/1.1\r\n"+host+"\r\n", msg("OPTIONS *", "")),
		accept("OPTIONS of a path", "9110 9.3.7", "OPTIONS /a HTTP/1.1\r\n"+host+"\r\n", msg("OPTIONS /a", "")),
		accept("OPTIONS of an absolute target without a path", "9112 3.2.4", "OPTIONS http://shop.test HTTP/1.1\r\n"+host+"\r\n", msg("OPTIONS http://shop.test", "")),
		accept("authority form", "9112 3.2.3", connect("shop.test:443", "shop.test:443"), last("CONNECT shop.test:443", "")),
		accept("authority form of an address", "9112 3.2.3", connect("[2001:db8::1]:443", "[2001:db8::1]:443"), last("CONNECT [2001:db8::1]:443", "")),

		refuse("target without a slash", "9112 3.2", request("a"), http1.BadTarget),
		refuse("target with a query only", "9112 3.2", request("?a"), http1.BadTarget),
		refuse("asterisk for GET", "9112 3.2.4", request("*"), http1.BadTarget),
		refuse("asterisk with a path", "9112 3.2.4", "OPTIONS */a HTTP/1.1\r\n"+host+"\r\n", http1.BadTarget),
		refuse("authority form for GET", "9112 3.2.3", request("shop.test:80"), http1.BadTarget),
		refuse("origin form for CONNECT", "9112 3.2.3", connect("/", "shop.test"), http1.BadTarget),
		refuse("absolute form for CONNECT", "9112 3.2.3", connect("http://shop.test:443/", "shop.test"), http1.BadTarget),
		refuse("CONNECT without a port", "9110 9.3.6", connect("shop.test", "shop.test"), http1.BadTarget),
		refuse("CONNECT with an empty port", "9110 9.3.6", connect("shop.test:", "shop.test:"), http1.BadTarget),
		refuse("CONNECT with a port too high", "9110 9.3.6", connect("shop.test:65536", "shop.test:65536"), http1.BadTarget),
		refuse("CONNECT to an address without a port", "9110 9.3.6", connect("[::1]", "[::1]"), http1.BadTarget),
		refuse("CONNECT with another Host", "9110 9.3.6", connect("shop.test:443", "other.test:443"), http1.HostMismatch),
		refuse("CONNECT with user information", "9110 4.2.4", connect("a@shop.test:443", "shop.test:443"), http1.TargetUserinfo),
		refuse("scheme ftp", "9112 3.2.2", abs("ftp://shop.test/"), http1.BadTarget),
		refuse("scheme file", "9112 3.2.2", abs("file:///etc/passwd"), http1.BadTarget),
		refuse("scheme with one slash", "9112 3.2.2", abs("http:/shop.test/"), http1.BadTarget),
		refuse("scheme without slashes", "9112 3.2.2", abs("http:shop.test/"), http1.BadTarget),
		refuse("scheme missing", "9112 3.2.2", abs("://shop.test/"), http1.BadTarget),
		refuse("absolute form with empty authority", "9110 4.2.1", abs("http:///a"), http1.BadTarget),
		refuse("absolute form with a port only", "9110 4.2.1", abs("http://:80/a"), http1.BadTarget),
		refuse("absolute form with user information", "9110 4.2.4", abs("http://user@shop.test/"), http1.TargetUserinfo),
		refuse("absolute form with user and password", "9110 4.2.4", abs("http://user:secret@shop.test/"), http1.TargetUserinfo),
		refuse("absolute form with a backslash", "3986 3.2", abs("http://shop.test\\@other.test/"), http1.TargetUserinfo),
		refuse("absolute form with an escape in the host", "design 2", abs("http://shop%2etest/"), http1.BadTarget),
		refuse("absolute form with another Host", "9112 3.2.2", abs("http://other.test/"), http1.HostMismatch),
		refuse("absolute form with another port", "9112 3.2.2", abs("http://shop.test:81/"), http1.HostMismatch),
		refuse("absolute form without Host", "9112 3.2", "GET http://shop.test/ HTTP/1.1\r\n\r\n", http1.MissingHost),
		refuse("fragment", "9110 7.1", request("/a#b"), http1.TargetFragment),
		refuse("fragment after a query", "9110 7.1", request("/a?b#c"), http1.TargetFragment),
		refuse("fragment in absolute form", "9110 7.1", abs("http://shop.test/#a"), http1.TargetFragment),
		refuse("space in the target", "9112 3.2", request("/a b"), http1.BadTargetByte),
		refuse("two versions", "9112 3.2", "GET / HTTP/1.1 HTTP/1.1\r\n"+host+"\r\n", http1.BadTargetByte),
		refuse("tab in the target", "9112 3.2", request("/a\tb"), http1.BadTargetByte),
		refuse("NUL in the target", "9112 3.2", request("/a\x00b"), http1.BadTargetByte),
		refuse("control byte in the target", "9112 3.2", request("/a\x1fb"), http1.BadTargetByte),
		refuse("DEL in the target", "9112 3.2", request("/a\x7fb"), http1.BadTargetByte),
		refuse("raw UTF-8 in the target", "3986 2", request("/caf\xc3\xa9"), http1.BadTargetByte),
		refuse("byte 0xff in the query", "3986 2", request("/?a=\xff"), http1.BadTargetByte),
	}
}
