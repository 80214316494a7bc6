package http1_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// browserHead is what a browser sends for a page's image: ten fields.
const browserHead = "GET /static/images/header-logo.svg?v=20260817 HTTP/1.1\r\n" +
	"Host: www.shop.test\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: image/avif,image/webp,*/*;q=0.8\r\n" +
	"Accept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Connection: keep-alive\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef\r\n" +
	"Sec-Fetch-Dest: image\r\n" +
	"Sec-Fetch-Mode: no-cors\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"\r\n"

const curlHead = "GET /api/v1/items HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"

const originAnswer = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 17 Aug 2026 10:00:00 GMT\r\n" +
	"Content-Type: application/json\r\nContent-Length: 1024\r\nETag: \"66c0-400\"\r\nCache-Control: no-cache\r\n\r\n"

func benchmarkRequest(b *testing.B, input string) {
	var r http1.Reader
	var h message.Head
	r.Init(http1.Server, http1.Limits{})
	in := []byte(input)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if ev := r.Next(in, &h); ev.Kind != http1.Head {
			b.Fatal(ev)
		}
		if ev := r.Next(nil, &h); ev.Kind != http1.End {
			b.Fatal(ev)
		}
	}
}

func BenchmarkRequestBrowser(b *testing.B) { benchmarkRequest(b, browserHead) }
func BenchmarkRequestCurl(b *testing.B)    { benchmarkRequest(b, curlHead) }

func BenchmarkResponse(b *testing.B) {
	var r http1.Reader
	var h message.Head
	r.Init(http1.Client, http1.Limits{})
	in := []byte(originAnswer)
	body := make([]byte, 1024)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r.ExpectResponseTo(message.MethodGet)
		if ev := r.Next(in, &h); ev.Kind != http1.Head {
			b.Fatal(ev)
		}
		if ev := r.Next(body, &h); ev.Kind != http1.Data {
			b.Fatal(ev)
		}
		if ev := r.Next(nil, &h); ev.Kind != http1.End {
			b.Fatal(ev)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	var r http1.Reader
	var h message.Head
	head := []byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	var body []byte
	for range 16 {
		body = http1.AppendChunkHeader(body, 1024)
		body = append(body, make([]byte, 1024)...)
		body = http1.AppendChunkEnd(body)
	}
	body = http1.AppendLastChunk(body, nil)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	r.Init(http1.Server, http1.Limits{})
	for b.Loop() {
		r.Next(head, &h)
		in := body
		for ev := r.Next(in, &h); ev.Kind != http1.End; ev = r.Next(in, &h) {
			in = in[ev.N:]
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	var r http1.Reader
	var h message.Head
	r.Init(http1.Server, http1.Limits{})
	r.Next([]byte(browserHead), &h)
	o := message.Out{Method: []byte("GET"), Target: h.Bytes(h.Target), Authority: h.Bytes(h.Authority)}
	for _, f := range h.Fields {
		if f.ID != message.FieldHost && !f.ID.HopByHop() {
			o.Add(h.Bytes(f.Name), h.Bytes(f.Value))
		}
	}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = http1.AppendRequest(dst[:0], &o)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkAppendResponse(b *testing.B) {
	o := message.Out{Status: 200, Framing: message.FramingLength, Length: 1024, Minor: 1}
	o.Add([]byte("Server"), []byte("nginx/1.22.1"))
	o.Add([]byte("Date"), []byte("Mon, 17 Aug 2026 10:00:00 GMT"))
	o.Add([]byte("Content-Type"), []byte("application/json"))
	o.Add([]byte("ETag"), []byte("\"66c0-400\""))
	o.Add([]byte("Cache-Control"), []byte("no-cache"))
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = http1.AppendResponse(dst[:0], &o)
	}
	b.SetBytes(int64(len(dst)))
}
