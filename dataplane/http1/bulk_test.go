package http1

import (
	"fmt"
	"math"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestBytesThatPassByLeaveTheReaderAsThoseThatItSaw reads the same messages with and
// without a look at a part of their bodies.
func TestBytesThatPassByLeaveTheReaderAsThoseThatItSaw(t *testing.T) {
	const size = 1000
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", size)
	for seen := range size + 1 {
		var r Reader
		var h message.Head
		r.Init(Client, Limits{})
		r.ExpectResponseTo(message.MethodGet)
		if r.Bulk() != 0 {
			t.Fatal("before a head nothing may pass")
		}
		if ev := r.Next([]byte(head), &h); ev.Kind != Head {
			t.Fatal(ev)
		}
		if seen > 0 {
			if ev := r.Next(make([]byte, seen), &h); ev.Kind != Data || ev.N != seen {
				t.Fatal(ev)
			}
		}
		if r.Bulk() != int64(size-seen) {
			t.Fatalf("%d may pass after %d", r.Bulk(), seen)
		}
		if seen < size {
			r.Pass((size - seen) / 2)
			r.Pass(size - seen - (size-seen)/2)
		}
		if ev := r.Next(nil, &h); ev.Kind != End || !r.Idle() || r.Bulk() != 0 {
			t.Fatalf("%+v, idle %t", ev, r.Idle())
		}
	}
}

func TestChunksNeverPassByAndBodiesUntilCloseAlways(t *testing.T) {
	for head, want := range map[string]int64{
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n": 0,
		"HTTP/1.0 200 OK\r\n\r\n":                               math.MaxInt64,
		"HTTP/1.1 204 No Content\r\n\r\n":                       0,
	} {
		var r Reader
		var h message.Head
		r.Init(Client, Limits{})
		r.ExpectResponseTo(message.MethodGet)
		if ev := r.Next([]byte(head), &h); ev.Kind != Head {
			t.Fatal(ev)
		}
		if r.Bulk() != want {
			t.Errorf("%q: %d may pass", head, r.Bulk())
		}
		if want > 0 {
			r.Pass(5)
			if ev := r.EOF(); ev.Kind != End {
				t.Errorf("%q: %+v", head, ev)
			}
		}
	}
}
