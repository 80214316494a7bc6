//go:build linux

package evloop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAClientOfATunnelThatTakesLeaveIsHeardWhole: its endpoint has said all, and RST_STREAM without an error says
// that the client says no more. What it has said before still goes up, however slowly it is taken.
func TestAClientOfATunnelThatTakesLeaveIsHeardWhole(t *testing.T) {
	for _, sizes := range [][]int{{48 << 10}, {48 << 10, 48 << 10, 16 << 10}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			accepting, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer accepting.Close()
			n := startNode(t, 1)
			n.apply(nil, connects(newUpstream("u", "unix:"+path), table.ConnectTarget{Host: "a", Port: 1}))
			l := handLoop(n)
			client := l.handDown(t)
			var said bytes.Buffer
			f := xhttp2.NewFramer(&said, nil)
			tell := func() {
				if _, err := unix.Write(client, said.Bytes()); err != nil {
					t.Fatal(err)
				}
				said.Reset()
			}
			said.WriteString(http2.Preface)
			_ = f.WriteSettings()
			block := append([]byte{0x02, 7}, "CONNECT"...)
			block = append(append(block, 0x01, 3), "a:1"...)
			_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
			tell()
			l.turns(t, "the endpoint's connection", func() bool { return n.up(l) != nil && n.up(l).connected })
			conn, err := accepting.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			up := n.up(l)
			_ = unix.SetsockoptInt(up.link.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<10)
			_ = conn.(*net.UnixConn).CloseWrite()
			l.turns(t, "the endpoint's end", func() bool { return up.stream.sub.sendEnd })
			all := 0
			for i, size := range sizes {
				for ; size > 0; size -= 16 << 10 {
					_ = f.WriteData(1, false, bytes.Repeat([]byte{'x'}, 16<<10))
					all += 16 << 10
				}
				if i == len(sizes)-1 {
					_ = f.WriteRSTStream(1, xhttp2.ErrCodeNo)
				}
				tell()
				if i < len(sizes)-1 {
					l.turns(t, "what it says", func() bool { return up.stream.x.State() == exchange.StateTunnel && up.link.out.len() > 40<<10 })
				}
			}
			for range 3 {
				_ = l.handTurn()
			}
			got, piece, end := 0, make([]byte, 4<<10), false
			l.turns(t, "all that it said", func() bool {
				_ = conn.SetReadDeadline(time.Now().Add(time.Millisecond))
				k, err := conn.Read(piece)
				got += k
				end = k == 0 && (errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET))
				return end
			})
			if r := n.records.wait(t, 1); got != all || r.Reason != exchange.ReasonNone || r.BytesIn != uint64(all) {
				t.Errorf("%d of %d bytes, and the record says %q, %d bytes", got, all, r.Reason, r.BytesIn)
			}
			if left := l.counts.subs; left != 0 {
				t.Errorf("%d streams are left", left)
			}
		})
	}
}
