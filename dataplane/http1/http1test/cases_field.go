package http1test

import (
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
)

// fieldCases are about field lines and the limits of a head.
func fieldCases() []Case {
	get := msg("GET /", "")
	return []Case{
		accept("field without a value", "9110 5.5", with("A:\r\nB: \r\n"), get),
		accept("field without a space", "9112 5", with("A:b\r\n"), get),
		accept("white space around a value", "9112 5", with("A: \t b c \t \r\n"), get),
		accept("value of white space", "9112 5", with("A:  \t \r\n"), get),
		accept("tab in a value", "9110 5.5", with("A: b\tc\r\n"), get),
		accept("value beyond ASCII", "9110 5.5", with("A: caf\xc3\xa9 \xff\r\n"), get),
		accept("every printable character in a value", "9110 5.5", with("A: "+printable()+"\r\n"), get),
		accept("every token character in a name", "9110 5.1", with("!#$%&'*+-.^_`|~09azAZ: b\r\n"), get),
		accept("value with colons", "9112 5", with("A: b: c:d\r\n"), get),
		accept("repeated field", "9110 5.3", with("A: b\r\nA: c\r\n"), get),
		accept("name of one letter", "9112 5", with("a: b\r\n"), get),

		refuse("space before the colon", "9112 5.1", with("A : b\r\n"), http1.SpaceBeforeColon),
		refuse("tab before the colon", "9112 5.1", with("A\t: b\r\n"), http1.SpaceBeforeColon),
		refuse("space before the colon of Host", "9112 5.1", "GET / HTTP/1.1\r\nHost : shop.test\r\n\r\n", http1.SpaceBeforeColon),
		refuse("space before the colon of Content-Length", "9112 5.1", post("Content-Length : 5\r\n", "hello"), http1.SpaceBeforeColon),
		refuse("space before the colon of Transfer-Encoding", "9112 5.1", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), http1.SpaceBeforeColon),
		refuse("folded value", "9112 5.2", with("A: b\r\n c\r\n"), http1.ObsFold),
		refuse("value folded with a tab", "9112 5.2", with("A: b\r\n\tc\r\n"), http1.ObsFold),
		refuse("folded line that looks like a field", "9112 5.2", with("A: b\r\n Content-Length: 5\r\n"), http1.ObsFold),
		refuse("folded Transfer-Encoding", "9112 5.2", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), http1.ObsFold),
		refuse("folded line of white space only", "9112 5.2", with("A: b\r\n \r\n"), http1.ObsFold),
		refuse("white space before the first field", "9112 2.2", "GET / HTTP/1.1\r\n Host: shop.test\r\n\r\n", http1.ObsFold),
		refuse("line without a colon", "9112 5", with("nothing\r\n"), http1.MissingColon),
		refuse("line of words", "9112 5", with("GET / HTTP/1.1\r\n"), http1.MissingColon),
		refuse("empty name", "9112 5", with(": b\r\n"), http1.EmptyFieldName),
		refuse("space in a name", "9112 5.1", with("A B: c\r\n"), http1.BadFieldName),
		refuse("brackets in a name", "9110 5.6.2", with("A[0]: b\r\n"), http1.BadFieldName),
		refuse("at sign in a name", "9110 5.6.2", with("A@b: c\r\n"), http1.BadFieldName),
		refuse("quoted name", "9110 5.6.2", with("\"A\": b\r\n"), http1.BadFieldName),
		refuse("slash in a name", "9110 5.6.2", with("A/b: c\r\n"), http1.BadFieldName),
		refuse("NUL in a name", "9110 5.6.2", with("A\x00: b\r\n"), http1.BadFieldName),
		refuse("UTF-8 in a name", "9110 5.6.2", with("caf\xc3\xa9: b\r\n"), http1.BadFieldName),
		refuse("no-break space before the colon", "9110 5.6.2", with("A\xa0: b\r\n"), http1.BadFieldName),
		refuse("vertical tab before the colon", "9110 5.6.2", with("A\v: b\r\n"), http1.BadFieldName),
		refuse("NUL in a value", "9110 5.5", with("A: b\x00c\r\n"), http1.BadFieldValue),
		refuse("NUL after a long value", "9110 5.5", with("A: "+strings.Repeat("b", 100)+"\x00\r\n"), http1.BadFieldValue),
		refuse("escape byte in a value", "9110 5.5", with("A: b\x1bc\r\n"), http1.BadFieldValue),
		refuse("DEL in a value", "9110 5.5", with("A: b\x7fc\r\n"), http1.BadFieldValue),
		refuse("form feed before a value", "9110 5.5", with("A:\fb\r\n"), http1.BadFieldValue),

		accept("as many fields as allowed", "9110 5.4", with(many(http1.DefaultFields-1)), get),
		refuse("one field too many", "9110 5.4", with(many(http1.DefaultFields)), http1.TooManyFields),
		accept("head as large as allowed", "9110 5.4", with(large(0)), get),
		refuse("head too large by one", "9110 5.4", with(large(1)), http1.HeadTooLarge),
		refuse("field without an end", "9110 5.4", with("A: "+strings.Repeat("b", http1.DefaultHeadBytes)), http1.HeadTooLarge),
		refuse("name without an end", "9110 5.4", with(strings.Repeat("b", http1.DefaultHeadBytes)), http1.HeadTooLarge),
	}
}

// printable is every byte that a value may hold between its ends.
func printable() string {
	var b strings.Builder
	for c := byte(0x21); c < 0x7f; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

// many is n field lines.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "A%d: b\r\n", i)
	}
	return b.String()
}

// large is a field that fills a head to the limit, and some bytes beyond.
func large(beyond int) string {
	return "A: " + strings.Repeat("b", http1.DefaultHeadBytes-len(with("A: \r\n"))+beyond) + "\r\n"
}

// hostCases are about Host.
func hostCases() []Case {
	get := msg("GET /", "")
	of := func(hosts string) string { return "GET / HTTP/1.1\r\n" + hosts + "\r\n" }
	cases := []Case{
		refuse("no Host", "9112 3.2", of(""), http1.MissingHost),
		accept("no Host in 1.0", "9112 3.2", "GET / HTTP/1.0\r\n\r\n", last("GET /", "")),
		refuse("two Hosts", "9112 3.2", of("Host: a.test\r\nHost: b.test\r\n"), http1.RepeatedHost),
		refuse("the same Host twice", "9112 3.2", of("Host: a.test\r\nHost: a.test\r\n"), http1.RepeatedHost),
		refuse("two Hosts in 1.0", "9112 3.2", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", http1.RepeatedHost),
		refuse("two Hosts of different case", "9112 3.2", of("HOST: a.test\r\nhost: b.test\r\n"), http1.RepeatedHost),
		refuse("Host and then a folded line", "9112 3.2", of("Host: a.test\r\n b.test\r\n"), http1.ObsFold),
	}
	for _, good := range []string{
		"a", "A.Test", "a.test:80", "a.test.", "a.test.:8080", "a.test:", "a_b.test", "xn--caf-dma.test", "127.0.0.1", "127.0.0.1:80",
		"[::1]", "[::1]:80", "[2001:DB8::1]:65535", "a.test:0",
	} {
		cases = append(cases, accept("Host "+good, "9110 7.2", of("Host: "+good+"\r\n"), get))
	}
	for _, bad := range []string{
		"", "a b", "a,b", "a.test, b.test", "http://a.test", "a.test/x", "a.test?x", "a.test#x", "user@a.test", "a..test", ".a.test", ".", "..",
		":80", "a.test:http", "a.test:-1", "a.test:65536", "a.test:80:80", "a.test:8 0", "[::1", "::1", "[::1]a", "[::1]a:80", "[1.2.3.4]", "[::1%25eth0]",
		"[v1.a]", "[]", "a%2etest", "a\\b", "a\"b", "<a>", "caf\xc3\xa9.test", "a;b", "a*b", "*.test", strings.Repeat("a.", 127) + "test",
	} {
		cases = append(cases, refuse("bad Host "+bad, "9110 7.2", of("Host: "+bad+"\r\n"), http1.BadHost))
	}
	return cases
}
