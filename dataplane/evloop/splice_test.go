//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"golang.org/x/sys/unix"
)

// long is a body that is spliced but for its ends.
const long = 2 << 20

func (n *node) spliced() uint64 { return n.engine.stats.Counter(stats.SplicedBytes) }

// pattern is n bytes that no other seed has.
func pattern(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = r.Read(b)
	return b
}

// sends answers every request with the same body, of a known length.
func sends(t *testing.T, body []byte) string {
	return startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body)
	})
}

func TestLongBodiesAreSplicedAndArriveAsTheyWere(t *testing.T) {
	up, down := pattern(1, long), pattern(2, long)
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if got, err := io.ReadAll(r.Body); err != nil || len(got) > 0 && !bytes.Equal(got, up) {
			t.Errorf("the endpoint got %d bytes that are others, %v", len(got), err)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(down)))
		_, _ = w.Write(down)
	}))))
	c := n.dialNode()
	r := bufio.NewReader(c)
	for i, method := range []string{"POST", "GET", "POST"} { // one connection: what follows a body is found
		before := n.spliced()
		body := up
		if method == "GET" {
			body = nil
		}
		fmt.Fprintf(c, "%s / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", method, len(body))
		if _, err := c.Write(body); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, down) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
		rec := n.records.wait(t, i+1)
		if rec.BytesIn != uint64(len(body)) || rec.BytesOut != long || rec.Reason != exchange.ReasonNone {
			t.Errorf("%d in, %d out, %s", rec.BytesIn, rec.BytesOut, rec.Reason)
		}
		if moved := n.spliced() - before; moved < uint64(long+len(body))/4 {
			t.Errorf("%s: only %d bytes were spliced", method, moved)
		}
	}
}

func TestAnAnswerUntilCloseIsSplicedToAClientThatReadsUntilClose(t *testing.T) {
	body := pattern(3, long)
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\n")
		_, _ = c.Write(body)
	}))))
	c := n.dialNode()
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if rec := n.records.wait(t, 1); rec.BytesOut != long || rec.Reason != exchange.ReasonNone || n.spliced() == 0 {
		t.Errorf("%d out, %s, %d spliced", rec.BytesOut, rec.Reason, n.spliced())
	}
}

func TestARelayIsSplicedInBothDirectionsAndEndsInHalves(t *testing.T) {
	up, down := pattern(4, long), pattern(5, long)
	n := startNode(t, 1)
	n.apply(speaks(table.ProtocolTCP), passes("db", newUpstream("u", rawServer(t, func(c net.Conn) {
		_, _ = c.Write(down)
		_ = c.(*net.TCPConn).CloseWrite() // the client is still sending
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, up) {
			t.Errorf("the endpoint got %d bytes, %v", len(got), err)
		}
	}))))
	c := n.dialNode()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, down) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	_, _ = c.Write(up)
	_ = c.CloseWrite()
	if rec := n.records.wait(t, 1); rec.BytesIn != long || rec.BytesOut != long || rec.Reason != exchange.ReasonNone {
		t.Errorf("%d in, %d out, %s", rec.BytesIn, rec.BytesOut, rec.Reason)
	}
	if n.spliced() < long {
		t.Errorf("%d spliced", n.spliced())
	}
}

func TestTLSAndChunksAreNotSpliced(t *testing.T) {
	body := pattern(6, long)
	n := startTLS(t, 1)
	n.serve(nil, forwardAll(newUpstream("u", sends(t, body))))
	c := n.dial(n.config())
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("by TLS %d bytes, %v", len(got), err)
	}
	m := startNode(t, 1)
	m.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body) // of no known length
	}))))
	if got, err := io.ReadAll(m.get("/").Body); err != nil || !bytes.Equal(got, body) {
		t.Errorf("in chunks %d bytes, %v", len(got), err)
	}
	if n.spliced()+m.spliced() != 0 {
		t.Error("bytes were spliced that must be seen")
	}
}

// TestNoBytesOfOneClientReachAnother cuts transfers at random moments while others
// go on, all of them through the one pipe of a loop.
func TestNoBytesOfOneClientReachAnother(t *testing.T) {
	const clients, rounds = 6, 5
	bodies := make([][]byte, clients)
	for i := range bodies {
		bodies[i] = pattern(uint64(100+i), long)
	}
	n := startNode(t, 1)
	var cut atomic.Int64
	n.apply(nil, forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			var who, how int
			_, _ = fmt.Sscanf(req.URL.Path, "/%d/%d", &who, &how)
			body := bodies[who]
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
			if how == 1 { // the endpoint breaks in the middle
				_, _ = c.Write(body[:rand.IntN(long)])
				_ = c.(*net.TCPConn).SetLinger(0)
				cut.Add(1)
				return
			}
			if _, err := c.Write(body); err != nil {
				return
			}
		}
	}))))
	var all sync.WaitGroup
	for who := range clients {
		all.Go(func() {
			for round := range rounds {
				how := (who + round) % 3
				conn, err := net.Dial("tcp", n.address)
				if err != nil {
					t.Error(err)
					return
				}
				c := conn.(*net.TCPConn)
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				fmt.Fprintf(c, "GET /%d/%d HTTP/1.1\r\nHost: a\r\n\r\n", who, how)
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					c.Close() // the endpoint broke before the head was on its way
					continue
				}
				var got []byte
				if how == 2 { // the client does
					got = make([]byte, rand.IntN(long))
					_, err = io.ReadFull(resp.Body, got)
					_ = c.SetLinger(0)
					cut.Add(1)
				} else {
					got, err = io.ReadAll(resp.Body)
				}
				c.Close()
				if !bytes.HasPrefix(bodies[who], got) {
					t.Errorf("client %d got another's bytes", who)
				}
				if how == 0 && (err != nil || len(got) != long) {
					t.Errorf("client %d got %d bytes, %v", who, len(got), err)
				}
			}
		})
	}
	all.Wait()
	if n.spliced() == 0 || cut.Load() == 0 {
		t.Errorf("%d bytes spliced, %d transfers cut", n.spliced(), cut.Load())
	}
}

// oneLoop is a loop that does not run.
func oneLoop(t *testing.T) *Loop {
	n := startNode(t, 1)
	n.stop()
	l, err := newLoop(n.engine, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.pipe.close(); l.poller.Close(); l.sockets.reserve.close() })
	n.engine.loops[0] = l
	return l
}

func TestAPipeThatMayNotBeEmptyIsNeverUsedAgain(t *testing.T) {
	l := oneLoop(t)
	p := &l.pipe
	if !l.openPipe() {
		t.Fatal("no pipe")
	}
	if l.counts.descriptors.Load() != 2 {
		t.Errorf("%d descriptors are counted", l.counts.descriptors.Load())
	}
	if _, err := unix.Write(p.w, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	p.inside = len("secret")
	if !l.openPipe() {
		t.Fatal("no other pipe")
	}
	if k, err := unix.Read(p.r, make([]byte, 16)); err != unix.EAGAIN {
		t.Fatalf("the next user of the pipe finds %d bytes, %v", k, err)
	}
	if l.counts.descriptors.Load() != 2 {
		t.Errorf("%d descriptors are counted", l.counts.descriptors.Load())
	}
	p.close()
	if l.counts.descriptors.Load() != 0 {
		t.Errorf("%d descriptors are counted after the end", l.counts.descriptors.Load())
	}
}

// TestWhatTheFarSocketDoesNotTakeIsKept splices into a socket that nobody reads.
func TestWhatTheFarSocketDoesNotTakeIsKept(t *testing.T) {
	for _, broken := range []bool{false, true} {
		l := oneLoop(t)
		var near, far [2]int
		for _, pair := range []*[2]int{&near, &far} {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			*pair = fds
		}
		body := pattern(9, 1<<20)
		from, to := &link{fd: near[0], bulk: true, readable: true, writable: true}, &link{fd: far[0], writable: true}
		if broken {
			unix.Close(far[1])
		}
		sent, moved := 0, 0
		for way := spliceMoved; way == spliceMoved; {
			k, _ := unix.Write(near[1], body[sent:])
			sent += max(k, 0)
			from.bulk, from.readable = true, true
			var n int
			n, _, way = l.splice(from, to, 1<<30)
			moved += n
		}
		if broken {
			if !to.broken || l.pipe.inside != 0 || to.out.len() != 0 {
				t.Errorf("broken %t, %d in the pipe, %d kept", to.broken, l.pipe.inside, to.out.len())
			}
		} else {
			if to.out.len() > splicePiece || moved == 0 || l.pipe.inside != 0 || !l.pipe.open || to.writable {
				t.Fatalf("%d kept of %d, %d in the pipe", to.out.len(), moved, l.pipe.inside)
			}
			got := make([]byte, 0, moved)
			for piece := make([]byte, 64<<10); ; {
				k, err := unix.Read(far[1], piece)
				if err != nil {
					break
				}
				got = append(got, piece[:k]...)
			}
			if got = append(got, to.out.bytes()...); !bytes.Equal(got, body[:moved]) {
				t.Errorf("%d bytes of %d, or others", len(got), moved)
			}
			unix.Close(far[1])
		}
		to.out.release(&l.buffers)
		unix.Close(far[0])
		unix.Close(near[0])
		unix.Close(near[1])
	}
}

func TestWithoutSpliceOrPipeBodiesAreCopied(t *testing.T) {
	body := pattern(8, long)
	for name, change := range map[string]func(*Engine){
		"the kernel has none": func(e *Engine) { e.loops[0].pipe.never = true },
		"no descriptors":      func(e *Engine) { e.ceilings.connections.Store(3) },
	} {
		n := startChanged(t, 1, change)
		n.apply(nil, forwardAll(newUpstream("u", sends(t, body))))
		if got, err := io.ReadAll(n.get("/").Body); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		if n.spliced() != 0 {
			t.Errorf("%s: %d bytes were spliced", name, n.spliced())
		}
	}
	// What cannot be spliced is found out, and nothing is lost.
	l := oneLoop(t)
	event, err := unix.Eventfd(1, unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	from, to := &link{fd: event, bulk: true, readable: true}, &link{fd: event, writable: true}
	if n, _, way := l.splice(from, to, 1<<30); n != 0 || way != spliceNot || !l.pipe.never || l.pipe.open {
		t.Errorf("%d bytes, way %d, %+v", n, way, l.pipe)
	}
}

// TestASplicedAnswerThatNobodyReadsEndsInTime: time passes when bytes have gone, at every request of
// another client.
func TestASplicedAnswerThatNobodyReadsEndsInTime(t *testing.T) {
	n, sink := startHeld(t)
	slow, short := forwardAll(newUpstream("u", sends(t, make([]byte, 64<<20)))), respondAll()
	slow.Timeout = time.Hour
	short.Name, short.Path.Text = "short", "/short"
	n.apply(nil, slow, short)
	c := n.dialNode()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "bytes to go", func() bool { return n.spliced() > 0 })
	l := n.engine.loops[0]
	pass := func() { l.base = l.base.Add(-n.listener().Timeouts.StreamIdle) }
	var rec exchange.Record
	eventually(t, "its end", func() bool {
		sink.hold.Store(&pass)
		n.talk("GET /short HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		n.records.mu.Lock()
		defer n.records.mu.Unlock()
		at := slices.IndexFunc(n.records.all, func(r exchange.Record) bool { return r.Route == "all" })
		if at >= 0 {
			rec = n.records.all[at]
		}
		return at >= 0
	})
	if rec.Reason != exchange.ReasonStreamIdleTimeout || rec.BytesOut == 0 || n.spliced() == 0 {
		t.Errorf("%s after %d bytes", rec.Reason, rec.BytesOut)
	}
	if _, err := io.Copy(io.Discard, c); err == nil {
		t.Error("a cut answer ends as if it was whole")
	}
}

func TestASplicedRequestIsNotSentAgain(t *testing.T) {
	n := startNode(t, 1)
	var attempts atomic.Int64
	die := func(c net.Conn) {
		attempts.Add(1)
		_, _ = io.CopyN(io.Discard, c, 1<<20)
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	n.apply(nil, forwardAll(newUpstream("u", rawServer(t, die), rawServer(t, die))))
	c := n.dialNode()
	fmt.Fprintf(c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", long)
	_, _ = c.Write(make([]byte, long))
	if rec := n.records.wait(t, 1); rec.Attempts != 1 || rec.Status != 502 || attempts.Load() != 1 || n.spliced() == 0 {
		t.Errorf("%d attempts, status %d", rec.Attempts, rec.Status)
	}
}
