package attack

import (
	"fmt"
	"strings"
	"time"
)

// codec is the series that counts what the codec of HTTP/1.1 refused.
func codec(reason string) string {
	return `proxyfleet_codec_refusals_total{reason="` + reason + `"}`
}

// HTTP1 are the floods of HTTP/1.1.
func HTTP1() []*Attack {
	post := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", Big, Host)
	get := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n", Local, Host)
	ext := ";" + strings.Repeat("a", 200)
	return []*Attack{
		{
			Name: "pipelined requests", Piece: every(1, []byte(get+"\r\n")),
			Want: Want{Work: true, Status: 200},
		},
		{
			Name: "pipelined requests without reading", Deaf: true, Piece: every(1, []byte(get+"\r\n")),
			Want: Want{Work: true},
		},
		{Name: "chunks of 1 byte", Open: []byte(post), Piece: every(1, []byte("1\r\nx\r\n")), Want: Want{Work: true, Arrives: true}},
		{
			Name: "chunk extensions", Open: []byte(post), Piece: every(1, []byte("1"+ext+"\r\nx\r\n")),
			Want: Want{Ends: true, Status: 400, Counter: codec("chunk_extension_too_large")},
		},
		{
			Name: "a long chunk extension", Open: []byte(post + "1;"), Piece: every(1, []byte(strings.Repeat("a", 1000))),
			Want: Want{Ends: true, Status: 400, Counter: codec("chunk_extension_too_large")},
		},
		{
			Name: "trailers without end", Open: []byte(post + "0\r\n"), Piece: every(1, []byte("a: b\r\n")),
			Want: Want{Ends: true, Status: 431, Counter: codec("trailer_too_large")},
		},
		{
			Name: "fields without end", Open: []byte(get), Piece: every(1, []byte("a: b\r\n")),
			Want: Want{Ends: true, Status: 431, Counter: codec("too_many_fields")},
		},
		{
			Name: "a field without end", Open: []byte(get + "a: "), Piece: every(1, []byte(strings.Repeat("b", 1000))),
			Want: Want{Ends: true, Status: 431, Counter: codec("head_too_large")},
		},
		{
			Name: "a target without end", Open: []byte("GET /"), Piece: every(1, []byte(strings.Repeat("b", 1000))),
			Want: Want{Ends: true, Status: 414, Counter: codec("request_line_too_long")},
		},
		{
			Name: "empty lines", Piece: every(1, []byte("\r\n")),
			Want: Want{Ends: true, Status: 400, Counter: codec("bad_method")},
		},
		{
			Name: "malformed requests", Piece: every(1, []byte("GET / HTTP/1.1\r\nHost : a\r\n\r\n")),
			Want: Want{Ends: true, Status: 400, Counter: codec("space_before_colon")},
		},
	}
}

// Connections are more than one client may have: each is refused before a byte of it is
// read. Its listener must have a limit, which is reached.
func Connections() *Attack {
	return &Attack{
		Name: "connections beyond the client's share",
		Want: Want{Ends: true, Status: 503, Counter: `proxyfleet_connections_refused_total{limit="client"}`},
	}
}

// SlowHTTP1 are clients that take their time. Their listener must have short
// timeouts.
func SlowHTTP1() []*Attack {
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\n", Slow, Host)
	return []*Attack{
		{
			Name: "slow head", Open: []byte(head), Every: 100 * time.Millisecond, Piece: every(1, []byte("a: b\r\n")),
			Want: Want{Ends: true, Status: 408, Counter: answered("request_head_timeout")},
		},
		{
			Name: "slow body", Open: []byte(head + "Content-Length: 100\r\n\r\nx"), Every: time.Hour, Piece: every(1, nil),
			Want: Want{Ends: true, Status: 408, Counter: answered("request_body_timeout")},
		},
		{
			Name: "slow reader", Open: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", Big, Host), Deaf: true, Every: 3 * time.Second,
			Piece: everyFew(1, 1, nil), Want: Want{Counter: answered("stream_idle_timeout")},
		},
	}
}
