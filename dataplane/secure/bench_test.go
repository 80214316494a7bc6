package secure

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// BenchmarkHandshake is a handshake, the client's part of it included.
func BenchmarkHandshake(b *testing.B) {
	for _, resume := range []bool{false, true} {
		name := "full"
		if resume {
			name = "resumed"
		}
		b.Run(name, func(b *testing.B) {
			ca := securetest.New(b)
			tickets, err := NewTickets(time.Now())
			if err != nil {
				b.Fatal(err)
			}
			server := NewServer(securetest.Listener(ca.Certificate(securetest.Config{Names: []string{"shop.test"}})), tickets, HTTP1)
			client := NewClient(&table.UpstreamTLS{ServerName: "shop.test", CAs: ca.Pool()}, "", HTTP1)
			client.config.CurvePreferences = []tls.CurveID{tls.X25519}
			if !resume {
				client.config.ClientSessionCache = nil
			}
			buf := make([]byte, 64<<10)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c, s := client.Conn(), server.Conn()
				shakeHands(b, c, s, 1<<20)
				if s.Failed() != nil || (s.Result() == ResultResumed) != (resume && i > 0) {
					b.Fatal(s.Result(), s.Failed())
				}
				_, _ = c.Open(buf)
			}
		})
	}
}

// BenchmarkRecord seals so many bytes, and opens them at the other end.
func BenchmarkRecord(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10} {
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			client, server := makePair(b)
			shakeHands(b, client, server, 1<<20)
			message, buf := make([]byte, size), make([]byte, 64<<10)
			_, _ = client.Open(buf)
			_, _ = server.Open(buf)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			var wire []byte
			for b.Loop() {
				var err error
				if wire, err = server.Seal(wire[:0], message); err != nil {
					b.Fatal(err)
				}
				pass(b, client, wire, buf)
			}
		})
	}
}
