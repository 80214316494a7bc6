package gossip

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// listening is a transport that listens until the test ends.
func listening(t *testing.T, c Config) *transport {
	t.Helper()
	g, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := g.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Shutdown() })
	return tr
}

// dial connects to a transport, until the test ends.
func dial(t *testing.T, network string, to *transport) net.Conn {
	t.Helper()
	c, err := net.Dial(network, fmt.Sprintf("127.0.0.1:%d", to.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestADatagramTakesAsMuchMemoryAsItIsLong, and not as the longest: the agent of a node reads
// thousands a second, beside traffic.
func TestADatagramTakesAsMuchMemoryAsItIsLong(t *testing.T) {
	const number, size = 200, 1000
	tr := listening(t, Config{NodeID: "a", Address: "127.0.0.1:0"})
	conn := dial(t, "udp", tr)
	head := tr.sieve.head
	send := func(fill byte) *memberlist.Packet {
		t.Helper()
		if _, err := conn.Write(append(bytes.Clone(head), bytes.Repeat([]byte{fill}, size-len(head))...)); err != nil {
			t.Fatal(err)
		}
		return <-tr.PacketCh()
	}
	first := send(1)
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := allocated()
	for range number {
		if p := send(2); len(p.Buf) != size || p.From.String() != conn.LocalAddr().String() || p.Timestamp.IsZero() {
			t.Fatalf("%d bytes from %s", len(p.Buf), p.From)
		}
	}
	if each := (allocated() - before) / number; each > 4*size { // with what sending takes
		t.Errorf("each takes %d bytes", each)
	}
	if !bytes.Equal(first.Buf[len(head):], bytes.Repeat([]byte{1}, size-len(head))) {
		t.Error("what was read is changed by what comes after it")
	}
	if _, err := conn.Write(nil); err != nil { // an empty one is nothing
		t.Fatal(err)
	}
	if p := send(3); p.Buf[len(head)] != 3 {
		t.Errorf("%d bytes", len(p.Buf))
	}
}

// sealed is a datagram as memberlist makes them.
func sealed(t *testing.T, label string, keys Keys, version byte, text string) []byte {
	t.Helper()
	s, err := newSieve(label, keys)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, s.keys[0].NonceSize())
	_, _ = rand.Read(nonce)
	b := append(append(bytes.Clone(s.head), version), nonce...)
	return s.keys[0].Seal(b, nonce, []byte(text), []byte(label))
}

// TestDatagramsOfStrangersDoNotReachMemberlist, which takes much longer to find out that they
// are, and tells of each.
func TestDatagramsOfStrangersDoNotReachMemberlist(t *testing.T) {
	ours, old := mustKeys(t, key(1)+key(2)), mustKeys(t, key(2))
	var log waittest.Log
	tr := listening(t, Config{NodeID: "a", Address: "127.0.0.1:0", Keys: ours, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	conn := dial(t, "udp", tr)
	fleet := label("")
	good := sealed(t, fleet, ours, 1, "good")
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	strangers := [][]byte{
		{},
		{labelMark},
		good[:len(fleet)+2], good[:len(fleet)+3], good[:len(good)-1], forged, good[len(fleet)+2:],
		[]byte("anything"), bytes.Repeat([]byte{labelMark}, 1400),
		sealed(t, fleet, mustKeys(t, key(3)), 1, "of another key"),
		sealed(t, label("other"), ours, 1, "of another fleet"),
		sealed(t, fleet, ours, 2, "of another version"),
		append(bytes.Clone(tr.sieve.head), "not sealed"...),
		append(bytes.Clone(good), make([]byte, 60000)...),
	}
	for _, want := range [][]byte{good, sealed(t, fleet, old, 1, "the key before"), sealed(t, fleet, ours, 0, "as long ago")} {
		for _, b := range append(strangers, want) {
			if _, err := conn.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-tr.PacketCh(); !bytes.Equal(got.Buf, want) {
			t.Errorf("memberlist gets %q", got.Buf)
		}
	}
	if n := strings.Count(log.String(), "not of this fleet"); n != 1 {
		t.Errorf("%d lines of %d strangers:\n%s", n, 3*len(strangers), log.String())
	}
}

// TestADatagramIsTakenOnce: whoever has recorded some of the fleet's can send them again as fast
// as he likes.
func TestADatagramIsTakenOnce(t *testing.T) {
	keys := mustKeys(t, key(1))
	tr := listening(t, Config{NodeID: "a", Address: "127.0.0.1:0", Keys: keys})
	conn := dial(t, "udp", tr)
	for i := range 100 {
		want := sealed(t, label(""), keys, 1, fmt.Sprint(i))
		for range 3 {
			if _, err := conn.Write(want); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-tr.PacketCh(); !bytes.Equal(got.Buf, want) {
			t.Fatalf("datagram %d: memberlist gets %q", i, got.Buf)
		}
	}
}

func TestStreamsBeyondABoundAreEnded(t *testing.T) {
	tr := listening(t, Config{NodeID: "a", Address: "127.0.0.1:0"})
	var taken []net.Conn
	for range maxStreams {
		dial(t, "tcp", tr)
		taken = append(taken, <-tr.StreamCh())
	}
	if n, err := dial(t, "tcp", tr).Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("one more: %d bytes, %v", n, err)
	}
	taken[0].Close()
	taken[0].Close() // nor does that make room for two
	dial(t, "tcp", tr)
	(<-tr.StreamCh()).Close()
	for _, c := range taken[1:] {
		c.Close()
	}
	if tr.taken.open != 0 {
		t.Errorf("%d are counted", tr.taken.open)
	}
}

func TestStreamsAreAdmittedAtARate(t *testing.T) {
	var s streams
	now := time.Unix(1, 0)
	admitted := 0
	for range 10 * streamsEach {
		if s.admit(now) {
			admitted++
			s.leave()
		}
		now = now.Add(time.Second / (5 * streamsEach)) // for two seconds, five times as many as may come
	}
	if admitted < 3*streamsEach-2 || admitted > 3*streamsEach+2 {
		t.Errorf("%d were admitted", admitted)
	}
}

func TestAStreamIsNoLongerThanItsBound(t *testing.T) {
	ours, other := net.Pipe()
	go func() {
		_, _ = other.Write(make([]byte, maxStream+1))
	}()
	s := (&streams{}).stream(ours)
	s.leave = func() {}
	n, err := io.Copy(io.Discard, s)
	if n != maxStream || !errors.Is(err, errStreamTooLong) {
		t.Errorf("%d bytes, then %v", n, err)
	}
	ours.Close()
}
