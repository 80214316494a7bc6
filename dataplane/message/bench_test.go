package message

import "testing"

func BenchmarkNormalPath(b *testing.B) {
	for name, raw := range map[string]string{"plain": "/static/images/2026/header-logo.svg", "dots": "/static/./images/../%7euser/logo.svg"} {
		b.Run(name, func(b *testing.B) {
			scratch := make([]byte, 0, 256)
			in := []byte(raw)
			b.ReportAllocs()
			for b.Loop() {
				_, scratch, _ = NormalPath(in, scratch, PathOptions{})
			}
		})
	}
}

func BenchmarkNormalHost(b *testing.B) {
	for name, raw := range map[string]string{"plain": "www.shop.test", "port": "www.shop.test:8080", "capitals": "WWW.Shop.Test"} {
		b.Run(name, func(b *testing.B) {
			scratch := make([]byte, 0, 256)
			in := []byte(raw)
			b.ReportAllocs()
			for b.Loop() {
				_, scratch, _ = NormalHost(in, scratch)
			}
		})
	}
}

func BenchmarkLookupField(b *testing.B) {
	for _, name := range []string{"Host", "User-Agent", "Accept-Encoding", "X-Unknown-Field"} {
		b.Run(name, func(b *testing.B) {
			in := []byte(name)
			for b.Loop() {
				LookupField(in)
			}
		})
	}
}
