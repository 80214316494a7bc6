//go:build linux

package evloop

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestInterimAnswersDoNotPileUpForAClientThatReadsNone: of many large ones it gets the
// first, and then the answers.
func TestInterimAnswersDoNotPileUpForAClientThatReadsNone(t *testing.T) {
	const streams, interim, most = 10, 30, 4 * deafWater
	hint := "HTTP/1.1 103 Early Hints\r\nlink: " + strings.Repeat("~", 60_000) + "\r\n\r\n"
	n := startNode(t, 1)
	n.apply(func(l *table.Listener) { l.SendBuffer = 16 << 10 }, forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) {
		for r := bufio.NewReader(c); ; {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(c, strings.Repeat(hint, interim)+"HTTP/1.1 204 No Content\r\n\r\n")
		}
	}))))
	c, f := n.framesTo()
	_ = c.(*net.TCPConn).SetReadBuffer(16 << 10)
	for i := range uint32(streams) {
		if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1 + 2*i, BlockFragment: requestBlock("GET"), EndStream: true, EndHeaders: true}); err != nil {
			t.Fatal(err)
		}
	}
	n.records.wait(t, streams)
	if held := n.engine.BufferBytes(); held > most {
		t.Errorf("%d bytes wait for the client", held)
	}
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for hints, answers := 0, 0; answers < streams; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("%v after %d hints and %d answers", err, hints, answers)
		}
		if frame, ok := frame.(*xhttp2.MetaHeadersFrame); ok {
			switch status := frame.PseudoValue("status"); status {
			case "103":
				hints++
			case "204":
				if answers++; hints == 0 {
					t.Error("no interim answer before it")
				}
			default:
				t.Error(status)
			}
		}
	}
}
