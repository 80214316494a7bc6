package secure

import (
	"crypto/tls"
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
