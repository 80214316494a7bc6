//go:build linux

package evloop

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// TestAnAnswerUntilTheEndThatIsResetIsTruncated also where the write of a request's body was told
// of the reset.
func TestAnAnswerUntilTheEndThatIsResetIsTruncated(t *testing.T) {
	accepting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer accepting.Close()
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", accepting.Addr().String())))
	l := handLoop(n)
	client := l.handTCP(t)
	_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
	l.turns(t, "the endpoint's connection", func() bool { return n.up(l) != nil && n.up(l).connected })
	endpoint, err := accepting.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(endpoint, "HTTP/1.1 200 OK\r\n\r\na part")
	reset(endpoint)
	link := n.up(l).link
	l.writeIntoReset(t, link)
	l.turns(t, "the end", func() bool { return link.closed })
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonUpstreamTruncated {
		t.Errorf("the record says %q, %d bytes", r.Reason, r.BytesOut)
	}
	if got, err := io.ReadAll(client); err == nil && strings.HasSuffix(string(got), "0\r\n\r\n") {
		t.Errorf("the client took it for whole: %q", got)
	}
}
