//go:build linux

package evloop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// relayed is one connection that is passed on: what each side says, and whether it then ends well
// or by a reset. A side that ends well hears the other one out.
type relayed struct {
	id   uint64
	says [2]int // client, endpoint
	cuts [2]bool
	slow [2]bool
}

func relayOf(id uint64) (r relayed) {
	rnd := rand.New(rand.NewPCG(id, 1))
	r.id = id
	for side := range 2 {
		r.says[side] = rnd.IntN(1 << (4 + rnd.IntN(18)))
		r.cuts[side] = rnd.IntN(4) == 0
		r.slow[side] = rnd.IntN(3) == 0
	}
	return r
}

// play plays one side, and returns what was heard of the other.
func (r *relayed) play(side int, c *net.TCPConn) (heard []byte, err error) {
	rnd := rand.New(rand.NewPCG(r.id, uint64(2+side)))
	words := pattern(2*r.id+uint64(side), r.says[side])
	var both sync.WaitGroup
	var told error // of a reset, by a write: then a read is told of it no more
	both.Go(func() {
		for len(words) > 0 {
			k, err := c.Write(words[:min(len(words), 1+rnd.IntN(100_000))])
			if words = words[k:]; err != nil {
				told = err
				return
			}
			if r.slow[side] {
				time.Sleep(time.Duration(rnd.IntN(200)) * time.Microsecond)
			}
		}
		if r.cuts[side] {
			reset(c)
		} else {
			_ = c.CloseWrite()
		}
	})
	piece := make([]byte, 32<<10)
	for err == nil {
		var k int
		k, err = c.Read(piece)
		heard = append(heard, piece[:k]...)
		if r.slow[1-side] {
			time.Sleep(50 * time.Microsecond)
		}
	}
	if both.Wait(); told != nil {
		err = told
	}
	return heard, err
}

// TestNothingThatWasCutLooksWhole relays connections whose sides end well or by a reset, at any
// moment: each side hears the end of what the other has said, all of it, or a reset.
func TestNothingThatWasCutLooksWhole(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64() >> 20
	t.Logf("from %d on", seed)
	n := startNode(t, 2)
	type result struct {
		heard []byte
		err   error
	}
	var results sync.Map // of endpoints, by id
	n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", rawServer(t, func(conn net.Conn) {
		c := conn.(*net.TCPConn)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		var id [8]byte
		if _, err := io.ReadFull(c, id[:]); err != nil {
			return
		}
		r := relayOf(binary.BigEndian.Uint64(id[:]))
		_, _ = c.Write(id[:1])
		heard, err := r.play(1, c)
		if there, ok := results.Load(r.id); ok {
			there.(chan result) <- result{heard, err}
		}
	}))))
	check := func(r *relayed, side int, got result) {
		whole := pattern(2*r.id+uint64(1-side), r.says[1-side])
		switch {
		case r.cuts[side]: // it closed its own ears
		case !bytes.HasPrefix(whole, got.heard):
			t.Errorf("%+v: side %d heard something else", r, side)
		case r.cuts[1-side]:
			if errors.Is(got.err, io.EOF) {
				t.Errorf("%+v: side %d heard an end behind %d bytes, where the other was cut", r, side, len(got.heard))
			}
		case len(got.heard) != len(whole) || !errors.Is(got.err, io.EOF):
			t.Errorf("%+v: side %d heard %d bytes, %v", r, side, len(got.heard), got.err)
		}
	}
	var all sync.WaitGroup
	for worker := range uint64(6) {
		all.Go(func() {
			for i := range uint64(40) {
				r := relayOf(seed + 1000*worker + i)
				answer := make(chan result, 1)
				results.Store(r.id, answer)
				conn, err := net.Dial("tcp", n.address)
				if err != nil {
					t.Error(err)
					return
				}
				c := conn.(*net.TCPConn)
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				_, _ = c.Write(binary.BigEndian.AppendUint64(nil, r.id))
				_, _ = c.Read(make([]byte, 1)) // the endpoint knows
				heard, err := r.play(0, c)
				c.Close()
				check(&r, 0, result{heard, err})
				select {
				case got := <-answer:
					check(&r, 1, got)
				case <-time.After(20 * time.Second):
					t.Errorf("%+v: the endpoint heard no end", r)
					return
				}
			}
		})
	}
	all.Wait()
}
