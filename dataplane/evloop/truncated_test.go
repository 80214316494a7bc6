//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
)

// TestAnAnswerUntilTheEndThatIsResetIsTruncated also where the write of a request's body was told
// of the reset, but not where the endpoint had ended before: one that wants no more of the body
// closes behind its answer, and what still comes makes its kernel reset the connection.
func TestAnAnswerUntilTheEndThatIsResetIsTruncated(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprintf("whole %t", whole), func(t *testing.T) { answerThenReset(t, whole) })
	}
}

func answerThenReset(t *testing.T, whole bool) {
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
	if _, err := http.ReadRequest(bufio.NewReader(endpoint)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(endpoint, "HTTP/1.1 200 OK\r\n\r\na part")
	if whole {
		endpoint.Close()
	} else {
		reset(endpoint)
	}
	link, down := n.up(l).link, n.up(l).stream.down.link
	l.writeIntoReset(t, link)
	l.turns(t, "the end", func() bool { return link.closed })
	want := exchange.ReasonUpstreamTruncated
	if whole {
		want = exchange.ReasonNone
	}
	if r := n.records.wait(t, 1); r.Reason != want {
		t.Errorf("the record says %q, %d bytes", r.Reason, r.BytesOut)
	}
	_ = client.CloseWrite()
	l.turns(t, "the client's end", func() bool { return down.closed })
	if got, err := io.ReadAll(client); (err == nil && strings.HasSuffix(string(got), "0\r\n\r\n")) != whole {
		t.Errorf("the client has got %q, %v", got, err)
	}
}

// TestAResetThatWasToldIsNoEndOfASplice either: the socket says no more than that it has ended.
func TestAResetThatWasToldIsNoEndOfASplice(t *testing.T) {
	for reset, want := range map[bool]readState{false: readEnd, true: readReset} {
		k := &link{reset: reset, readable: true}
		if state := k.spliced(0, 0); state != want || k.readable {
			t.Errorf("told %t: state %d", reset, state)
		}
	}
}
