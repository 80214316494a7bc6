//go:build linux

package evloop

import (
	"crypto/tls"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/ring"
	"github.com/proxyfleet/proxyfleet/dataplane/secure/securetest"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// meddler makes a loop slow, so that edges come together, and takes its ring away and gives
// it another one in the middle of turns.
type meddler struct {
	Sink
	loop   *Loop
	random *rand.Rand

	together int // how many links were read by one call, at most
	lost     int // rings
}

// meddle has a meddler at every end of an exchange, on the loop's thread.
func meddle(l *Loop, seed uint64) *meddler {
	m := &meddler{Sink: l.records.sink, loop: l, random: rand.New(rand.NewPCG(seed, 3))}
	l.records.sink = m
	return m
}

func (m *meddler) Finish(r *exchange.Record) {
	l := m.loop
	m.together = max(m.together, l.early.n)
	time.Sleep(time.Duration(m.random.IntN(200)) * time.Microsecond)
	switch m.random.IntN(50) {
	case 0:
		if l.ring != nil {
			l.closeRing()
			l.ring = foreignRing() // which fails when it is used
			m.lost++
		}
	case 1, 2, 3, 4:
		if l.ring == nil {
			l.openRing()
		}
	}
	m.Sink.Finish(r)
}

// foreignRing is one that refuses to be used by any other thread; nil: this system refuses it.
func foreignRing() *ring.Ring {
	made := make(chan *ring.Ring)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		r, _ := ring.New(ringMost)
		made <- r
	}()
	return <-made
}

// TestInACrowdEachGetsWhatItWouldGetAlone: many connections have edges together, rings are
// lost in the middle, and bytes come and go in order, once, in plain text and with TLS on both
// sides.
func TestInACrowdEachGetsWhatItWouldGetAlone(t *testing.T) {
	for name, secured := range map[string]bool{"plain text": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			crowd(t, secured)
		})
	}
}

func crowd(t *testing.T, secured bool) {
	const seed, clients, each = 1, 24, 30
	var m *meddler
	n := startChanged(t, 1, func(e *Engine) { m = meddle(e.loops[0], seed) })
	serve := carryOut1(t, seed)
	ca := securetest.New(t)
	ours := func(l *table.Listener) {
		l.Protocol, l.TLS = table.ProtocolHTTPS, securetest.Listener(ca.Certificate(securetest.Config{Names: []string{shop}}))
	}
	trusting := &tls.Config{RootCAs: ca.Pool(), ServerName: shop}
	theirs := &tls.Config{Certificates: []tls.Certificate{ca.Pair(securetest.Config{Names: []string{shop}})}}
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		if secured {
			c = tls.Server(c, theirs)
			defer c.Close() // in order
		}
		serve(c)
	}))
	if secured {
		u.TLS = &table.UpstreamTLS{ServerName: shop, CAs: ca.Pool()}
		n.connect = func() (net.Conn, error) { return tls.Dial("tcp", n.address, trusting) }
	} else {
		ours = nil
	}
	n.apply(ours, forwardAll(u))
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for id := 1; id <= each && !t.Failed(); {
				var plans []plan
				for range 1 + rnd.IntN(4) {
					p := randomPlan(rnd, 1000*i+id)
					if rnd.IntN(3) > 0 { // short, or of about the size of an early read
						p.up, p.down = min(p.up, rnd.IntN(2*earlySize)), min(p.down, rnd.IntN(2*earlySize))
					}
					plans = append(plans, p)
					id++
				}
				for left := plans; len(left) > 0; {
					answered := n.play1(left)
					if answered == 0 {
						t.Errorf("nothing was answered of %+v", left[0])
						return
					}
					left = left[answered:]
				}
			}
		})
	}
	all.Wait()
	eventually(t, "the end of all clients", func() bool { return n.engine.clients() == 0 })
	eventually(t, "the end of all buffers", func() bool { return n.engine.BufferBytes() == 0 })
	n.stop()
	if m.lost == 0 {
		t.Skip("this system refuses io_uring, or no ring was lost")
	}
	t.Logf("%d connections were read by one call, %d rings were lost", m.together, m.lost)
	if m.together < worthARing {
		t.Error("no connections were read together")
	}
}
