package gossip

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/hashicorp/memberlist"
)

// TestADatagramTakesAsMuchMemoryAsItIsLong, and not as the longest: the agent of a node reads
// thousands a second, beside traffic.
func TestADatagramTakesAsMuchMemoryAsItIsLong(t *testing.T) {
	const number, size = 200, 1000
	g, err := New(Config{NodeID: "a", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := g.listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Shutdown() }()
	conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", tr.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(fill byte) *memberlist.Packet {
		t.Helper()
		if _, err := conn.Write(bytes.Repeat([]byte{fill}, size)); err != nil {
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
	if !bytes.Equal(first.Buf, bytes.Repeat([]byte{1}, size)) {
		t.Error("what was read is changed by what comes after it")
	}
	if _, err := conn.Write(nil); err != nil { // an empty one is nothing
		t.Fatal(err)
	}
	if p := send(3); p.Buf[0] != 3 {
		t.Errorf("%d bytes", len(p.Buf))
	}
}
