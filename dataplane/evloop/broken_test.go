//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// TestWhatCameBeforeAConnectionBrokeIsHandled: a write fails, and what was read of the
// endpoint is more than one turn handles.
func TestWhatCameBeforeAConnectionBrokeIsHandled(t *testing.T) {
	const chunks, calls = maxEvents + 50, upMuxFrames // of a head and an end each
	var request, answer bytes.Buffer
	asks, answers := xhttp2.NewFramer(&request, nil), xhttp2.NewFramer(&answer, nil)
	request.WriteString(http2.Preface)
	_ = asks.WriteSettings()
	_ = answers.WriteSettings()
	for i := range uint32(calls) {
		id := 1 + 2*i
		_ = asks.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true})
		_ = answers.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x88}, EndHeaders: true})
		_ = answers.WriteData(id, true, []byte("fine"))
	}
	for _, c := range []struct {
		name            string
		http2           bool
		request, answer string
		asked           func(*bufio.Reader) error // has read the requests
		records         int
	}{
		{
			"HTTP/1.1", false, "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", chunks) + "0\r\n\r\n",
			func(r *bufio.Reader) error { _, err := http.ReadRequest(r); return err }, 1,
		},
		{"HTTP/2", true, request.String(), answer.String(), func(r *bufio.Reader) error {
			_, _ = io.ReadFull(r, make([]byte, len(http2.Preface)))
			f := xhttp2.NewFramer(io.Discard, r)
			for heads := 0; heads < calls; {
				frame, err := f.ReadFrame()
				if err != nil {
					return err
				}
				if _, ok := frame.(*xhttp2.HeadersFrame); ok {
					heads++
				}
			}
			return nil
		}, calls},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked, goOn := make(chan error, 1), make(chan struct{})
			u := newUpstream("u", rawServer(t, func(conn net.Conn) {
				asked <- c.asked(bufio.NewReader(conn))
				<-goOn
				_, _ = io.WriteString(conn, c.answer)
				_, _ = io.Copy(io.Discard, conn)
			}))
			u.HTTP2 = c.http2
			n := startNode(t, 1)
			n.apply(nil, forwardAll(u))
			l := handLoop(n)
			client := l.handDown(t)
			if _, err := unix.Write(client, []byte(c.request)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the requests", func() bool { return l.handTurn() != nil || len(asked) > 0 })
			if err := <-asked; err != nil {
				t.Fatal(err)
			}
			close(goOn)
			var k *link
			for _, other := range l.links {
				if other.up != nil {
					k = other
				}
			}
			eventually(t, "the answer", func() bool {
				there, _, err := unix.Recvfrom(k.fd, make([]byte, readSize), unix.MSG_PEEK)
				return err == nil && there == len(c.answer)
			})
			l.wrote(k, 1, 0, unix.EPIPE)
			for len(l.ready) > 0 { // no edge comes meanwhile
				l.takeTurns()
				l.endTurn(l.now)
			}
			n.records.wait(t, c.records)
			for i := range n.records.all {
				if r := &n.records.all[i]; r.Status != 200 || r.Reason != exchange.ReasonNone {
					t.Fatalf("record %d of %d: %d %s %s", i, c.records, r.Status, r.Reason, r.Detail)
				}
			}
		})
	}
}
