package hpack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/hpack"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	xhpack "golang.org/x/net/http2/hpack"
)

// browser is what a browser sends, with every field but the path indexed from
// the second request on.
func browser(path string) []xhpack.HeaderField {
	return []xhpack.HeaderField{
		{Name: ":method", Value: "GET"},
		{Name: ":authority", Value: "www.shop.test"},
		{Name: ":scheme", Value: "https"},
		{Name: ":path", Value: path},
		{Name: "user-agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"},
		{Name: "accept", Value: "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
		{Name: "accept-encoding", Value: "gzip, deflate, br, zstd"},
		{Name: "accept-language", Value: "en-US,en;q=0.9"},
		{Name: "cookie", Value: "session=5f2c9c9e7a8b4d1e9f3a6b7c8d9e0f1a"},
	}
}

// blocks encodes n requests of one connection, each for another path.
func blocks(n int) [][]byte {
	var out [][]byte
	var buf strings.Builder
	e := xhpack.NewEncoder(&buf)
	for i := range n {
		buf.Reset()
		for _, f := range browser(fmt.Sprintf("/static/images/%d/header-logo.svg", i)) {
			_ = e.WriteField(f)
		}
		out = append(out, []byte(buf.String()))
	}
	return out
}

func TestDecodingDoesNotAllocate(t *testing.T) {
	all := blocks(2100)
	var d hpack.Decoder
	d.Init(hpack.DefaultTableSize)
	arena := make([]byte, 0, 4096)
	i := 0
	one := func() {
		rest, _ := d.Start(all[i])
		for arena = arena[:0]; len(rest) > 0; {
			_, rest, arena, _ = d.Field(rest, arena)
		}
		i++
	}
	for range 1000 {
		one()
	}
	if n := testing.AllocsPerRun(1000, one); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	all := blocks(4096)
	b.Run("own", func(b *testing.B) {
		var d hpack.Decoder
		d.Init(hpack.DefaultTableSize)
		arena := make([]byte, 0, 4096)
		b.ReportAllocs()
		for i := range b.N {
			if i%len(all) == 0 {
				d.Init(hpack.DefaultTableSize)
			}
			rest, _ := d.Start(all[i%len(all)])
			for arena = arena[:0]; len(rest) > 0; {
				_, rest, arena, _ = d.Field(rest, arena)
			}
		}
	})
	b.Run("xnet", func(b *testing.B) {
		n := 0
		d := xhpack.NewDecoder(hpack.DefaultTableSize, func(xhpack.HeaderField) { n++ })
		b.ReportAllocs()
		for i := range b.N {
			if i%len(all) == 0 {
				d = xhpack.NewDecoder(hpack.DefaultTableSize, func(xhpack.HeaderField) { n++ })
			}
			_, _ = d.Write(all[i%len(all)])
			_ = d.Close()
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	fields := browser("/static/images/2026/header-logo.svg")
	b.Run("own", func(b *testing.B) {
		names, values := make([][]byte, len(fields)), make([][]byte, len(fields))
		for i, f := range fields {
			names[i], values[i] = []byte(f.Name), []byte(f.Value)
		}
		dst := make([]byte, 0, 4096)
		b.ReportAllocs()
		for b.Loop() {
			dst = dst[:0]
			for i := range names {
				dst = hpack.AppendField(dst, message.LookupField(names[i]), names[i], values[i], false)
			}
		}
	})
	b.Run("xnet", func(b *testing.B) {
		var buf strings.Builder
		buf.Grow(4096)
		e := xhpack.NewEncoder(writer{})
		values := make([][]byte, len(fields))
		for i, f := range fields {
			values[i] = []byte(f.Value)
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			i++
			for j, f := range fields {
				f.Value = string(values[j]) // as a proxy has them
				if j == 3 {
					f.Value = fmt.Sprint(i)
				}
				_ = e.WriteField(f)
			}
		}
	})
}

type writer struct{}

func (writer) Write(p []byte) (int, error) { return len(p), nil }
