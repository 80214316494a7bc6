package http1test

import (
	"fmt"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
)

// chunkCases are about chunked bodies and trailers.
func chunkCases() []Case {
	hello := msg("POST /", "hello")
	end := "0\r\n\r\n"
	one := "5\r\nhello\r\n"
	trailer := func(lines string) string { return chunks(one + "0\r\n" + lines + "\r\n") }
	trailed := func(lines string) Message { return Message{Line: "POST /", Body: "hello", Trailers: lines} }
	extension := func(s string) string { return chunks("5" + s + "\r\nhello\r\n" + end) }
	cases := []Case{
		accept("no chunks", "9112 7.1", chunks(end), msg("POST /", "")),
		accept("one chunk", "9112 7.1", chunks(one+end), hello),
		accept("several chunks", "9112 7.1", chunks("1\r\nh\r\n3\r\nell\r\n1\r\no\r\n"+end), hello),
		accept("size in small letters", "9112 7.1", chunks("a\r\n0123456789\r\n"+end), msg("POST /", "0123456789")),
		accept("size in capitals", "9112 7.1", chunks("A\r\n0123456789\r\n"+end), msg("POST /", "0123456789")),
		accept("size with leading zeros", "9112 7.1", chunks("0000000000000005\r\nhello\r\n"+end), hello),
		accept("last chunk of several zeros", "9112 7.1", chunks(one+"0000\r\n\r\n"), hello),
		accept("chunk of 4 KiB", "9112 7.1", chunks("1000\r\n"+strings.Repeat("x", 4096)+"\r\n"+end), msg("POST /", strings.Repeat("x", 4096))),
		accept("data that looks like framing", "9112 7.1", chunks("5\r\n0\r\n\r\n\r\n"+end), msg("POST /", "0\r\n\r\n")),
		accept("request behind a chunked body", "9112 9.3.2", chunks(one+end)+request("/b"), hello, msg("GET /b", "")),

		accept("extension", "9112 7.1.1", extension(";a"), hello),
		accept("extension with a value", "9112 7.1.1", extension(";a=b"), hello),
		accept("extension with a quoted value", "9112 7.1.1", extension(";a=\"b c\\\"; \\\\\""), hello),
		accept("several extensions", "9112 7.1.1", extension(";a;b=c;d=\"\""), hello),
		accept("extension of the last chunk", "9112 7.1.1", chunks(one+"0;a=b\r\n\r\n"), hello),
		accept("extension as long as allowed", "9112 7.1.1", extension(";"+strings.Repeat("a", http1.MaxChunkExtension-1)), hello),
		refuse("extension too long by one", "9112 7.1.1", extension(";"+strings.Repeat("a", http1.MaxChunkExtension)), http1.ChunkExtensionTooLarge),
		refuse("extension without an end", "9112 7.1.1", chunks("5;"+strings.Repeat("a", 2*http1.MaxChunkExtension)), http1.ChunkExtensionTooLarge),
		refuse("many extensions", "9112 7.1.1", chunks(strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 100)+end), http1.ChunkExtensionTooLarge),
		refuse("space before an extension", "9112 7.1.1, design 4", extension(" ;a"), http1.BadChunkSize),
		refuse("tab before an extension", "9112 7.1.1, design 4", extension("\t;a"), http1.BadChunkSize),
		refuse("space within an extension", "9112 7.1.1, design 4", extension("; a=b"), http1.BadChunkExtension),
		refuse("space before a value", "9112 7.1.1, design 4", extension(";a= b"), http1.BadChunkExtension),
		refuse("space after an extension", "9112 7.1.1, design 4", extension(";a "), http1.BadChunkExtension),
		refuse("empty extension", "9112 7.1.1", extension(";"), http1.BadChunkExtension),
		refuse("empty extension name", "9112 7.1.1", extension(";=a"), http1.BadChunkExtension),
		refuse("empty extension value", "9112 7.1.1", extension(";a="), http1.BadChunkExtension),
		refuse("quoted value without an end", "9112 7.1.1", extension(";a=\"b"), http1.BadChunkExtension),
		refuse("quoted value that ends with a backslash", "9112 7.1.1", extension(";a=\"b\\"), http1.BadChunkExtension),
		refuse("letters behind a quoted value", "9112 7.1.1", extension(";a=\"b\"c"), http1.BadChunkExtension),
		refuse("control byte in an extension", "9112 7.1.1", extension(";a=\"\x01\""), http1.BadChunkExtension),
		refuse("NUL in an extension", "9112 7.1.1", extension(";\x00"), http1.BadChunkExtension),
		refuse("LF in an extension", "9112 7.1.1", extension(";a\nb"), http1.BareLF),
		refuse("CR in an extension", "9112 7.1.1", extension(";a\rb"), http1.BareCR),

		refuse("size that ends with LF", "9112 7.1", chunks("5\nhello\r\n"+end), http1.BareLF),
		refuse("size that ends with CR", "9112 7.1", chunks("5\rhello\r\n"+end), http1.BareCR),
		refuse("size that ends with CR CR LF", "9112 7.1", chunks("5\r\r\nhello\r\n"+end), http1.BareCR),
		refuse("data that ends with LF", "9112 7.1", chunks("5\r\nhello\n"+end), http1.BadChunkEnd),
		refuse("data that ends with CR", "9112 7.1", chunks("5\r\nhello\r"+end), http1.BadChunkEnd),
		refuse("data without an end", "9112 7.1", chunks("5\r\nhello"+end), http1.BadChunkEnd),
		refuse("data longer than its size", "9112 7.1", chunks("4\r\nhello\r\n"+end), http1.BadChunkEnd),
		refuse("data shorter than its size", "9112 7.1", chunks("6\r\nhello\r\n"+end), http1.BadChunkEnd),
		refuse("last chunk that ends with LF", "9112 7.1", chunks(one+"0\n\r\n"), http1.BareLF),
		refuse("last chunk followed by LF", "9112 7.1", chunks(one+"0\r\n\n"), http1.BareLF),
		refuse("cut within a size", "9112 8", chunks("5"), http1.TruncatedBody),
		refuse("cut after a size", "9112 8", chunks("5\r\n"), http1.TruncatedBody),
		refuse("cut within data", "9112 8", chunks("5\r\nhel"), http1.TruncatedBody),
		refuse("cut after data", "9112 8", chunks("5\r\nhello\r"), http1.TruncatedBody),
		refuse("cut before the last chunk", "9112 8", chunks(one), http1.TruncatedBody),
		refuse("cut before the end", "9112 8", chunks(one+"0\r\n"), http1.TruncatedBody),
		refuse("cut within a trailer", "9112 8", chunks(one+"0\r\nA: b"), http1.TruncatedBody),
		refuse("cut after a trailer", "9112 8", chunks(one+"0\r\nA: b\r\n"), http1.TruncatedBody),

		accept("trailer", "9112 7.1.2", trailer("A: b\r\n"), trailed("A: b\r\n")),
		accept("trailers", "9112 7.1.2", trailer("A: b\r\nGrpc-Status:0\r\n"), trailed("A: b\r\nGrpc-Status:0\r\n")),
		accept("request behind trailers", "9112 9.3.2", trailer("A: b\r\n")+request("/b"), trailed("A: b\r\n"), msg("GET /b", "")),
		accept("field that is pointless in a trailer", "9110 6.5.1", trailer("Authorization: b\r\n"), trailed("Authorization: b\r\n")),
		refuse("bare LF in a trailer", "9112 2.2", trailer("A: b\n"), http1.BareLF),
		refuse("bare CR in a trailer", "9112 2.2", trailer("A: b\rc\r\n"), http1.BareCR),
		refuse("folded trailer", "9112 5.2", trailer("A: b\r\n c\r\n"), http1.ObsFold),
		refuse("space before the colon of a trailer", "9112 5.1", trailer("A : b\r\n"), http1.SpaceBeforeColon),
		refuse("trailer without a colon", "9112 5", trailer("A\r\n"), http1.MissingColon),
		refuse("trailer without a name", "9112 5", trailer(": b\r\n"), http1.EmptyFieldName),
		refuse("NUL in a trailer", "9110 5.5", trailer("A: \x00\r\n"), http1.BadFieldValue),
		refuse("request in place of trailers", "9112 7.1.2", chunks(one+"0\r\n"+request("/b")), http1.MissingColon),
		accept("as many trailers as allowed", "9112 7.1.2", trailer(many(http1.MaxTrailerFields)), trailed(many(http1.MaxTrailerFields))),
		refuse("one trailer too many", "9112 7.1.2", trailer(many(http1.MaxTrailerFields+1)), http1.TrailerTooLarge),
		refuse("trailers too large", "9112 7.1.2", trailer("A: "+strings.Repeat("b", http1.MaxTrailerBytes)+"\r\n"), http1.TrailerTooLarge),
		refuse("trailer without an end", "9112 7.1.2", chunks(one+"0\r\n"+strings.Repeat("b", http1.MaxTrailerBytes)), http1.TrailerTooLarge),
	}
	for _, bad := range []string{
		"", " 5", "5 ", "\t5", "5\t", "+5", "-5", "0x5", "5h", "h5", "5.0", "5,5", "5 5", "5_0", "\"5\"", "\x005", "5\x00", "\xb2", "hello", "5:",
	} {
		cases = append(cases, refuse(fmt.Sprintf("bad chunk size %q", bad), "9112 7.1", chunks(bad+"\r\nhello\r\n"+end), http1.BadChunkSize))
	}
	for _, large := range []string{
		"00000000000000005", "8000000000000000", "ffffffffffffffff", "10000000000000000", "10000000000000005", strings.Repeat("0", 300) + "5",
	} {
		cases = append(cases, refuse("large chunk size "+large, "9112 7.1", chunks(large+"\r\nhello\r\n"+end), http1.ChunkTooLarge))
	}
	for _, forbidden := range []string{"Transfer-Encoding: chunked", "Content-Length: 5", "Host: other.test", "Connection: close", "Trailer: A", "TE: trailers", "Upgrade: websocket"} {
		cases = append(cases, refuse("trailer "+forbidden, "9110 6.5.1", trailer(forbidden+"\r\n"), http1.ForbiddenTrailer))
	}
	return cases
}
