package http1_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

func TestAServerSaysForHowLongItKeepsAConnection(t *testing.T) {
	const forLong = 1<<16 - 1
	for fields, want := range map[string]struct {
		idle uint16
		ends bool
	}{
		"":                                                            {},
		"Keep-Alive: timeout=5\r\n":                                   {idle: 5},
		"keep-alive: TIMEOUT=05\r\n":                                  {idle: 5},
		"Keep-Alive: timeout=5, max=100\r\n":                          {idle: 5},
		"Keep-Alive: max=100 ,\ttimeout=5\r\n":                        {idle: 5},
		"Keep-Alive: timeout=0\r\n":                                   {ends: true},
		"Keep-Alive: timeout=65535\r\n":                               {idle: forLong},
		"Keep-Alive: timeout=65536\r\n":                               {idle: forLong},
		"Keep-Alive: timeout=99999999999999999999\r\n":                {},
		"Keep-Alive: timeout=-1\r\n":                                  {},
		"Keep-Alive: timeout=1.5\r\n":                                 {},
		"Keep-Alive: timeout=\r\n":                                    {},
		"Keep-Alive: timeout\r\n":                                     {},
		"Keep-Alive: 5\r\n":                                           {},
		"Keep-Alive: mytimeout=5\r\n":                                 {},
		"Keep-Alive: \r\n":                                            {},
		"Keep-Alive: timeout=5\r\nKeep-Alive: timeout=7\r\n":          {idle: 7},
		"Keep-Alive: timeout=5\r\nConnection: close\r\n":              {idle: 5, ends: true},
		"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nA: b\r\n": {idle: 5},
	} {
		r := newReader(http1.Client, http1.Limits{})
		r.ExpectResponseTo(message.MethodGet)
		ev := r.next("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + fields + "\r\n")
		if ev.Kind != http1.Head || r.head.IdleFor != want.idle || r.head.KeepAlive == want.ends {
			t.Errorf("%q: %+v, for %d s, ends %t", fields, ev, r.head.IdleFor, !r.head.KeepAlive)
		}
	}
}
