package http1test

import (
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// responseCases are about what a server sends to us.
func responseCases() []Case {
	const hello = "Content-Length: 5\r\n\r\nhello"
	ok := func(rest string) string { return "HTTP/1.1 200 OK\r\n" + rest }
	status := func(line string) string { return line + "\r\n" + hello }
	fine := msg("200", "hello")
	cases := []Case{
		answer("answer with a length", "9112 6.3", ok(hello), fine),
		answer("answer with chunks", "9112 6.3", ok("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), fine),
		answer("answer with trailers", "9112 7.1.2", ok("Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n"), Message{Line: "200", Trailers: "A: b\r\n"}),
		answer("answer until close", "9112 6.3", ok("\r\nhello"), last("200", "hello")),
		answer("empty answer until close", "9112 6.3", ok("\r\n"), last("200", "")),
		answer("answer with length 0", "9112 6.3", ok("Content-Length: 0\r\n\r\n"), msg("200", "")),
		answer("answer and close", "9112 9.3", ok("Connection: close\r\n"+hello), last("200", "hello")),
		answer("answer of 1.0", "9112 9.3", "HTTP/1.0 200 OK\r\n"+hello, last("200", "hello")),
		answer("answer of 1.0 that stays", "9112 9.3", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n"+hello, fine),
		answer("answer of 1.0 until close", "9112 9.3", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello", last("200", "hello")),
		answer("no answer", "9112 9.5", ""),

		answer("status 100 to 599", "9110 15", status("HTTP/1.1 599 What"), msg("599", "hello")),
		answer("empty reason phrase", "9112 4", status("HTTP/1.1 200 "), fine),
		answer("no reason phrase and no space", "9112 4", status("HTTP/1.1 200"), fine),
		answer("long reason phrase", "9112 4", status("HTTP/1.1 404 No: such\tthing caf\xe9"), msg("404", "hello")),
		badAnswer("status of two digits", "9112 4", status("HTTP/1.1 20 OK"), http1.BadStatusLine),
		badAnswer("status of four digits", "9112 4", status("HTTP/1.1 2000 OK"), http1.BadStatusLine),
		badAnswer("status of letters", "9112 4", status("HTTP/1.1 abc OK"), http1.BadStatus),
		badAnswer("status with a sign", "9112 4", status("HTTP/1.1 +20 OK"), http1.BadStatus),
		badAnswer("status 000", "9110 15", status("HTTP/1.1 000 OK"), http1.BadStatus),
		badAnswer("status 099", "9110 15", status("HTTP/1.1 099 OK"), http1.BadStatus),
		badAnswer("status 600", "9110 15", status("HTTP/1.1 600 OK"), http1.BadStatus),
		badAnswer("status 999", "9110 15", status("HTTP/1.1 999 OK"), http1.BadStatus),
		badAnswer("two spaces before the status", "9112 4", status("HTTP/1.1  200 OK"), http1.BadStatusLine),
		badAnswer("tab before the status", "9112 4", status("HTTP/1.1\t200 OK"), http1.BadStatusLine),
		badAnswer("tab after the status", "9112 4", status("HTTP/1.1 200\tOK"), http1.BadStatusLine),
		badAnswer("no status", "9112 4", status("HTTP/1.1"), http1.BadStatusLine),
		badAnswer("NUL in the reason phrase", "9112 4", status("HTTP/1.1 200 O\x00K"), http1.BadReasonPhrase),
		badAnswer("CR in the reason phrase", "9112 2.2", status("HTTP/1.1 200 O\rK"), http1.BareCR),
		badAnswer("answer with bare LF", "9112 2.2", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", http1.BareLF),
		badAnswer("answer of 2.0", "9112 2.3", status("HTTP/2.0 200 OK"), http1.UnsupportedVersion),
		badAnswer("answer of 1.2", "9112 2.3", status("HTTP/1.2 200 OK"), http1.UnsupportedVersion),
		badAnswer("answer of http", "9112 2.3", status("http/1.1 200 OK"), http1.BadStatusLine),
		badAnswer("answer of another protocol", "9112 2.3", status("HTTQ/1.1 200 OK"), http1.BadVersion),
		badAnswer("answer of HTTP/0.9", "9112 4", "<html>hello</html>\r\n", http1.BadStatusLine),
		badAnswer("answer of ICY", "9112 4", status("ICY 200 OK"), http1.BadStatusLine),
		badAnswer("answer of SSH", "9112 4", "SSH-2.0-OpenSSH_9.2\r\n", http1.BadStatusLine),
		badAnswer("empty line before an answer", "9112 2.2", "\r\n"+ok(hello), http1.BadStatusLine),
		badAnswer("answer cut within the status line", "9112 8", "HTTP/1.1 20", http1.TruncatedHead),
		badAnswer("answer cut within the fields", "9112 8", ok("A: b\r\n"), http1.TruncatedHead),
		badAnswer("answer cut within the body", "9112 8", ok("Content-Length: 6\r\n\r\nhello"), http1.TruncatedBody),
		badAnswer("answer cut within a chunk", "9112 8", ok("Transfer-Encoding: chunked\r\n\r\n5\r\nhel"), http1.TruncatedBody),
		badAnswer("status line too long", "9110 5.4", "HTTP/1.1 200 "+strings.Repeat("a", http1.DefaultHeadBytes), http1.HeadTooLarge),
		badAnswer("head of an answer too large", "9110 5.4", ok("A: "+strings.Repeat("b", http1.DefaultHeadBytes)+"\r\n"+hello), http1.HeadTooLarge),
		badAnswer("answer with too many fields", "9110 5.4", ok(many(http1.DefaultFields)+hello), http1.TooManyFields),
		badAnswer("answer with too many options", "9110 5.6.1", ok("Connection: "+strings.Repeat(",", http1.MaxOptions+1)+"\r\n"+hello), http1.TooManyFields),
		badAnswer("answer with a folded field", "9112 5.2", ok("A: b\r\n c\r\n"+hello), http1.ObsFold),
		badAnswer("answer with a space before a colon", "9112 5.1", ok("Content-Length : 5\r\n\r\nhello"), http1.SpaceBeforeColon),

		badAnswer("answer with two lengths", "9112 6.3", ok("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), http1.RepeatedContentLength),
		badAnswer("answer with a length twice", "9112 6.3", ok("Content-Length: 5\r\n"+hello), http1.RepeatedContentLength),
		badAnswer("answer with a bad length", "9112 6.3", ok("Content-Length: -5\r\n\r\nhello"), http1.BadContentLength),
		badAnswer("answer with length and encoding", "9112 6.3", ok("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), http1.LengthAndEncoding),
		badAnswer("answer with an unknown encoding", "9112 6.1", ok("Transfer-Encoding: gzip\r\n\r\nhello"), http1.UnknownTransferEncoding),
		badAnswer("answer with chunks in 1.0", "9112 6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", http1.EncodingIn10),
		badAnswer("answer with a bad chunk", "9112 7.1", ok("Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n"), http1.BadChunkSize),

		to(message.MethodHead, answer("answer to HEAD with a length", "9112 6.3", ok("Content-Length: 5\r\n\r\n"), msg("200", ""))),
		to(message.MethodHead, answer("answer to HEAD with chunks", "9112 6.3", ok("Transfer-Encoding: chunked\r\n\r\n"), msg("200", ""))),
		to(message.MethodHead, answer("answer to HEAD without a length", "9112 6.3", ok("\r\n"), msg("200", ""))),
		to(message.MethodHead, badAnswer("answer to HEAD with a bad length", "9112 6.3", ok("Content-Length: x\r\n\r\n"), http1.BadContentLength)),
		to(message.MethodHead, badAnswer("answer to HEAD with a body", "9110 9.3.2", ok(hello), http1.BadStatusLine, msg("200", ""))),
		to(message.MethodConnect, answer("tunnel", "9112 6.3", ok("\r\n"), last("200", ""))),
		to(message.MethodConnect, answer("tunnel with a length", "9110 9.3.6", ok("Content-Length: 5\r\n\r\n"), last("200", ""))),
		to(message.MethodConnect, answer("refused tunnel", "9110 9.3.6", "HTTP/1.1 403 No\r\n"+hello, msg("403", "hello"))),
		answer("204", "9112 6.3", "HTTP/1.1 204 No Content\r\n\r\n", msg("204", "")),
		answer("204 with length 0", "9110 8.6", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", msg("204", "")),
		answer("204 with a length", "9110 8.6", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", last("204", "")),
		answer("204 with chunks", "9112 6.1", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", last("204", "")),
		answer("304 with a length", "9112 6.3", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", msg("304", "")),
		answer("304 with chunks", "9112 6.3", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", msg("304", "")),
		answer("205 with length 0", "9110 15.3.6", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", msg("205", "")),

		answer("continue", "9110 15.2", "HTTP/1.1 100 Continue\r\n\r\n"+ok(hello), msg("100", ""), fine),
		answer("early hints", "9110 15.2", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok(hello), msg("103", ""), fine),
		answer("two interim answers", "9110 15.2", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"+ok(hello), msg("100", ""), msg("103", ""), fine),
		answer("interim answer alone", "9110 15.2", "HTTP/1.1 100 Continue\r\n\r\n", msg("100", "")),
		answer("interim answer with length 0", "9110 8.6", "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"+ok(hello), msg("100", ""), fine),
		badAnswer("interim answer with a length", "9110 8.6", "HTTP/1.1 100 Continue\r\n"+hello, http1.UnexpectedBody),
		badAnswer("interim answer with chunks", "9112 6.1", "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", http1.UnexpectedBody),
		badAnswer("endless interim answers", "9110 15.2", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", http1.MaxInterim+1), http1.TooManyInterim,
			interims(http1.MaxInterim)...),
		answer("switching protocols", "9110 7.8", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello", last("101", "")),
	}
	return cases
}

func interims(n int) []Message {
	all := make([]Message, n)
	for i := range all {
		all[i] = msg("100", "")
	}
	return all
}
