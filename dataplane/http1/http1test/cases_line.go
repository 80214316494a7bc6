package http1test

import (
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
)

// lineCases are about line ends, methods and versions.
func lineCases() []Case {
	get := msg("GET /", "")
	return []Case{
		accept("minimal", "9112 3", request("/"), get),
		accept("nothing at all", "9112 9.3", ""),
		accept("no fields in 1.0", "9112 3", "GET / HTTP/1.0\r\n\r\n", last("GET /", "")),
		accept("two pipelined", "9112 9.3.2", request("/")+request("/b"), get, msg("GET /b", "")),
		accept("method other", "9110 9.1", "BREW /pot HTTP/1.1\r\n"+host+"\r\n", msg("BREW /pot", "")),
		accept("method with token characters", "9110 5.6.2", "M-S!#$%&'*+.^_`|~9 / HTTP/1.1\r\n"+host+"\r\n", msg("M-S!#$%&'*+.^_`|~9 /", "")),
		accept("method in small letters is another method", "9110 9.1", "get / HTTP/1.1\r\n"+host+"\r\n", msg("get /", "")),
		accept("empty line before a request", "9112 2.2", "\r\n"+request("/"), get),
		accept("empty line between requests", "9112 2.2", request("/")+"\r\n"+request("/b"), get, msg("GET /b", "")),
		accept("empty line and nothing else", "9112 2.2", "\r\n"),
		refuse("two empty lines before a request", "9112 2.2", "\r\n\r\n"+request("/"), http1.BadMethod),
		refuse("LF before a request", "9112 2.2", "\n"+request("/"), http1.BareLF),
		refuse("CR before a request", "9112 2.2", "\r"+request("/"), http1.BareCR),
		refuse("space before a request", "9112 3", " "+request("/"), http1.BadMethod),
		refuse("tab before a request", "9112 3", "\t"+request("/"), http1.BadMethod),
		refuse("byte order mark", "9112 3", "\xef\xbb\xbf"+request("/"), http1.BadMethod),
		refuse("TLS on a plaintext port", "9112 3", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", http1.BadMethod),
		refuse("HTTP/2 preface", "9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http1.UnsupportedVersion),
		refuse("a response instead", "9112 3", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", http1.BadMethod),
		refuse("bare LF after the request line", "9112 2.2", "GET / HTTP/1.1\n"+host+"\r\n", http1.BareLF),
		refuse("bare LF after a field", "9112 2.2", "GET / HTTP/1.1\r\nHost: shop.test\n\r\n", http1.BareLF),
		refuse("bare LF at the end of the head", "9112 2.2", "GET / HTTP/1.1\r\n"+host+"\n", http1.BareLF),
		refuse("bare LF everywhere", "9112 2.2", "GET / HTTP/1.1\nHost: shop.test\n\n", http1.BareLF),
		refuse("bare CR after the request line", "9112 2.2", "GET / HTTP/1.1\r"+host+"\r\n", http1.BareCR),
		refuse("bare CR in the target", "9112 2.2", "GET /\ra HTTP/1.1\r\n"+host+"\r\n", http1.BareCR),
		refuse("bare CR in a field value", "9112 2.2", with("A: b\rc\r\n"), http1.BareCR),
		refuse("bare CR in a field name", "9112 2.2", with("A\rB: c\r\n"), http1.BareCR),
		refuse("CR CR LF", "9112 2.2", with("A: b\r\r\n"), http1.BareCR),
		refuse("bare CR before the end of the head", "9112 2.2", "GET / HTTP/1.1\r\n"+host+"\rX\r\n\r\n", http1.BareCR),

		refuse("method with a colon", "9112 3.1", "GE:T / HTTP/1.1\r\n"+host+"\r\n", http1.BadMethod),
		refuse("method in parentheses", "9112 3.1", "GET() / HTTP/1.1\r\n"+host+"\r\n", http1.BadMethod),
		refuse("method with NUL", "9112 3.1", "GE\x00T / HTTP/1.1\r\n"+host+"\r\n", http1.BadMethod),
		refuse("method beyond ASCII", "9112 3.1", "G\xc3\x89T / HTTP/1.1\r\n"+host+"\r\n", http1.BadMethod),
		refuse("method alone", "9112 3", "GET\r\n\r\n", http1.BadRequestLine),
		refuse("method and space", "9112 3", "GET \r\n\r\n", http1.BadRequestLine),
		refuse("tab between method and target", "9112 3", "GET\t/ HTTP/1.1\r\n"+host+"\r\n", http1.BadMethod),
		refuse("tab between target and version", "9112 3", "GET /\tHTTP/1.1\r\n"+host+"\r\n", http1.BadRequestLine),
		refuse("two spaces after the method", "9112 3", "GET  / HTTP/1.1\r\n"+host+"\r\n", http1.BadRequestLine),
		refuse("two spaces after the target", "9112 3", "GET /  HTTP/1.1\r\n"+host+"\r\n", http1.BadRequestLine),
		refuse("space after the version", "9112 3", "GET / HTTP/1.1 \r\n"+host+"\r\n", http1.BadVersion),
		refuse("vertical tab as a space", "9112 3", "GET /\vHTTP/1.1\r\n"+host+"\r\n", http1.BadRequestLine),
		refuse("no target", "9112 3", "GET HTTP/1.1\r\n"+host+"\r\n", http1.BadRequestLine),
		refuse("HTTP/0.9", "9112 3", "GET /\r\n", http1.BadRequestLine),

		refuse("version 1.2", "9110 15.6.6", "GET / HTTP/1.2\r\n"+host+"\r\n", http1.UnsupportedVersion),
		refuse("version 1.9", "9110 15.6.6", "GET / HTTP/1.9\r\n"+host+"\r\n", http1.UnsupportedVersion),
		refuse("version 0.9 spelled out", "9110 15.6.6", "GET / HTTP/0.9\r\n"+host+"\r\n", http1.UnsupportedVersion),
		refuse("version 2.0", "9110 15.6.6", "GET / HTTP/2.0\r\n"+host+"\r\n", http1.UnsupportedVersion),
		refuse("version 3.0", "9110 15.6.6", "GET / HTTP/3.0\r\n"+host+"\r\n", http1.UnsupportedVersion),
		refuse("version in small letters", "9112 2.3", "GET / http/1.1\r\n"+host+"\r\n", http1.BadVersion),
		refuse("version without a minor number", "9112 2.3", "GET / HTTP/1\r\n"+host+"\r\n", http1.BadVersion),
		refuse("version with two digits", "9112 2.3", "GET / HTTP/1.10\r\n"+host+"\r\n", http1.BadVersion),
		refuse("version with leading zero", "9112 2.3", "GET / HTTP/01.1\r\n"+host+"\r\n", http1.BadVersion),
		refuse("version with comma", "9112 2.3", "GET / HTTP/1,1\r\n"+host+"\r\n", http1.BadVersion),
		refuse("version of letters", "9112 2.3", "GET / HTTP/a.b\r\n"+host+"\r\n", http1.BadVersion),
		refuse("version with space", "9112 2.3", "GET / HTTP/ 1.1\r\n"+host+"\r\n", http1.BadVersion),
		refuse("another protocol", "9112 2.3", "GET / RTSP/1.0\r\n"+host+"\r\n", http1.BadVersion),

		accept("target as long as allowed", "9112 3", request(long(http1.MaxRequestLine-15)), msg("GET "+long(http1.MaxRequestLine-15), "")),
		refuse("target too long by one", "9112 3", request(long(http1.MaxRequestLine-14)), http1.RequestLineTooLong),
		refuse("request line without an end", "9112 3", "GET "+long(http1.MaxRequestLine), http1.RequestLineTooLong),
		refuse("method without an end", "9112 3", strings.Repeat("A", http1.MaxRequestLine), http1.RequestLineTooLong),
		refuse("cut within the request line", "9112 8", "GET / HT", http1.TruncatedHead),
		refuse("cut within the fields", "9112 8", "GET / HTTP/1.1\r\nHost: sh", http1.TruncatedHead),
		refuse("cut before the empty line", "9112 8", "GET / HTTP/1.1\r\n"+host, http1.TruncatedHead),
	}
}

// long is an origin target of n bytes.
func long(n int) string { return "/" + strings.Repeat("a", n-1) }
