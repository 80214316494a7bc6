package http1test

import (
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
)

// framingCases are about the length of a request's body.
func framingCases() []Case {
	length := func(value string) string { return post("Content-Length: "+value+"\r\n", "hello") }
	encoding := func(value string) string { return post("Transfer-Encoding: "+value+"\r\n", "0\r\n\r\n") }
	empty := msg("POST /", "")
	hello := msg("POST /", "hello")
	cases := []Case{
		accept("POST without a body", "9112 6.3", post("", ""), empty),
		accept("length", "9112 6.2", length("5"), hello),
		accept("length in small letters", "9110 5.1", post("content-length: 5\r\n", "hello"), hello),
		accept("length 0", "9112 6.2", post("Content-Length: 0\r\n", ""), empty),
		accept("length with leading zeros", "9110 8.6", length("0005"), hello),
		accept("length with white space around", "9112 5", length(" \t5\t "), hello),
		accept("GET with a body", "9110 9.3.1", "GET / HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\nhello", msg("GET /", "hello")),
		accept("length in 1.0", "9112 6.3", "POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", last("POST /", "hello")),
		accept("body that looks like a request", "9112 6.2", post("Content-Length: 18\r\n", "GET /a HTTP/1.1\r\n\r"), msg("POST /", "GET /a HTTP/1.1\r\n\r")),
		accept("request behind a body", "9112 9.3.2", length("5")+request("/b"), hello, msg("GET /b", "")),
		refuse("body shorter than its length", "9112 8", length("6"), http1.TruncatedBody),
		refuse("body longer than its length", "9112 9.3.2", length("4"), http1.TruncatedHead, msg("POST /", "hell")),
		refuse("length 2^63", "9110 8.6", length("9223372036854775808"), http1.ContentTooLarge),
		refuse("length 2^64 + 5", "9110 8.6", length("18446744073709551621"), http1.ContentTooLarge),
		refuse("length of forty digits", "9110 8.6", length("1111111111222222222233333333334444444444"), http1.ContentTooLarge),
		refuse("large number and letters", "9110 8.6", length("99999999999999999999x"), http1.BadContentLength),
		refuse("length 2^63 - 1", "9110 8.6", length("9223372036854775807"), http1.TruncatedBody),

		refuse("the same length twice", "9112 6.3", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), http1.RepeatedContentLength),
		refuse("two lengths", "9112 6.3", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), http1.RepeatedContentLength),
		refuse("list of equal lengths", "9112 6.3", length("5, 5"), http1.RepeatedContentLength),
		refuse("list of lengths", "9112 6.3", length("5,6"), http1.RepeatedContentLength),
		refuse("length and encoding", "9112 6.1", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), http1.LengthAndEncoding),
		refuse("encoding and length", "9112 6.1", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), http1.LengthAndEncoding),
		refuse("encoding and length 0", "9112 6.1", post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), http1.LengthAndEncoding),
		refuse("length and an unknown encoding", "9112 6.1", post("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", "hello"), http1.LengthAndEncoding),

		accept("encoding in capitals", "9112 7", encoding("CHUNKED"), empty),
		accept("encoding with white space around", "9112 5", encoding(" \tchunked\t "), empty),
		refuse("encoding twice", "9112 6.1", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), http1.RepeatedTransferEncoding),
		refuse("encoding and identity", "9112 6.1", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), http1.RepeatedTransferEncoding),
		refuse("encoding in 1.0", "9112 6.1", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", http1.EncodingIn10),
		refuse("encoding and length in 1.0", "9112 6.1", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", http1.EncodingIn10),
		refuse("encoding named with an underscore is another field", "9112 6.1", post("Transfer_Encoding: chunked\r\n", "0\r\n\r\n"), http1.BadRequestLine, msg("POST /", "")),
		refuse("body of CONNECT", "9110 9.3.6", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\nhello", http1.UnexpectedBody),
		refuse("chunked CONNECT", "9110 9.3.6", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", http1.UnexpectedBody),
		refuse("body of TRACE", "9110 9.3.8", "TRACE / HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\nhello", http1.UnexpectedBody),
		accept("TRACE with length 0", "9110 9.3.8", "TRACE / HTTP/1.1\r\n"+host+"Content-Length: 0\r\n\r\n", msg("TRACE /", "")),
	}
	for _, bad := range []string{
		"", "+5", "-5", "-0", "5.0", "5e0", "0x5", "5 5", "5x", "five", "\"5\"", "5;", "5\xb2", "\xd9\xa5", "1_0", ",5", "0b1",
	} {
		cases = append(cases, refuse("bad length "+bad, "9110 8.6", length(bad), http1.BadContentLength))
	}
	for _, bad := range []string{
		"", ",", ",chunked", "chunked,", ", chunked", "chunked, ", "chunked, chunked", "chunked, gzip", "chunked;a=b", "chunked ;a", "\"chunked\"",
		"chunked chunked", "chu nked", "=", "gzip,,chunked", "chunked\xa0", "[chunked]", "chunked/1",
	} {
		cases = append(cases, refuse("bad encoding "+bad, "9112 6.1", encoding(bad), http1.BadTransferEncoding))
	}
	for _, unknown := range []string{"identity", "gzip", "deflate", "gzip, chunked", "xchunked", "chunkedx", "x-chunked", "chunke", "gzip;q=1", "trailers"} {
		cases = append(cases, refuse("unknown encoding "+unknown, "9112 6.1", encoding(unknown), http1.UnknownTransferEncoding))
	}
	return cases
}

// connectionCases are about persistence, upgrades and expectations.
func connectionCases() []Case {
	get, end := msg("GET /", ""), last("GET /", "")
	old := func(lines string) string { return "GET / HTTP/1.0\r\n" + lines + "\r\n" }
	expect := func(value string) string { return post("Content-Length: 5\r\nExpect: "+value+"\r\n", "hello") }
	return []Case{
		accept("close", "9112 9.3", with("Connection: close\r\n"), end),
		accept("close in capitals", "9110 7.6.1", with("Connection: CLOSE\r\n"), end),
		accept("close among others", "9110 7.6.1", with("Connection: te , close,foo\r\n"), end),
		accept("close on a second line", "9110 7.6.1", with("Connection: keep-alive\r\nConnection: close\r\n"), end),
		accept("keep-alive and close", "9112 9.3", with("Connection: keep-alive, close\r\n"), end),
		accept("empty options", "9110 5.6.1", with("Connection: ,, ,close,\r\n"), end),
		accept("as many options as allowed", "9110 5.6.1", with("Connection: "+strings.Repeat("a,", http1.MaxOptions-1)+"close\r\n"), end),
		refuse("one option too many", "9110 5.6.1", with("Connection: "+strings.Repeat("a,", http1.MaxOptions)+"close\r\n"), http1.TooManyFields),
		refuse("commas without end in two fields", "9110 5.6.1", with(strings.Repeat("Connection: "+strings.Repeat(",", http1.MaxOptions*2/3)+"\r\n", 2)), http1.TooManyFields),
		accept("closed is not close", "9110 7.6.1", with("Connection: closed\r\n"), get),
		accept("keep-alive in 1.1", "9112 9.3", with("Connection: keep-alive\r\n"), get),
		accept("empty Connection", "9110 7.6.1", with("Connection:\r\n"), get),
		accept("nothing is read after close", "9112 9.6", with("Connection: close\r\n")+request("/b"), end),
		accept("1.0 closes", "9112 9.3", old(""), end),
		accept("keep-alive in 1.0", "9112 9.3", old("Connection: Keep-Alive\r\n"), get),
		accept("keep-alive and close in 1.0", "9112 9.3", old("Connection: keep-alive, close\r\n"), end),
		accept("Proxy-Connection says nothing", "9112 C.2.2", old("Proxy-Connection: keep-alive\r\n"), end),
		accept("1.1 after 1.0", "9112 9.3", old("Connection: keep-alive\r\n")+request("/b"), get, msg("GET /b", "")),
		accept("upgrade", "9110 7.8", with("Connection: Upgrade\r\nUpgrade: websocket\r\n"), get),
		accept("nothing is read after CONNECT", "9110 9.3.6", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"+request("/b"), last("CONNECT a:1", "")),

		accept("expectation", "9110 10.1.1", expect("100-continue"), msg("POST /", "hello")),
		accept("expectation in capitals", "9110 10.1.1", expect("100-CONTINUE"), msg("POST /", "hello")),
		accept("expectation without a body", "9110 10.1.1", with("Expect: 100-continue\r\n"), get),
		accept("expectation in 1.0", "9110 10.1.1", old("Expect: anything\r\n"), end),
		refuse("unknown expectation", "9110 10.1.1", expect("200-ok"), http1.UnknownExpectation),
		refuse("list of expectations", "9110 10.1.1", expect("100-continue, foo"), http1.UnknownExpectation),
		refuse("empty expectation", "9110 10.1.1", expect(""), http1.UnknownExpectation),
	}
}
