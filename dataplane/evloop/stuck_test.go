//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAnEndpointThatTakesNoMoreIsNotTheClientsFault: the body that does not come waits for it.
func TestAnEndpointThatTakesNoMoreIsNotTheClientsFault(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			n := startNode(t, 1)
			done := make(chan struct{})
			defer close(done)
			u := newUpstream("u", rawServer(t, func(net.Conn) { <-done }))
			u.HTTP2 = http2
			shortIdle := func(l *table.Listener) { l.Timeouts.StreamIdle = 300 * time.Millisecond }
			n.apply(shortIdle, forwardAll(u))
			c := n.dial()
			go func() {
				fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 64<<20)
				_, _ = io.CopyN(c, zeros{}, 64<<20)
			}()
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			line, _ := bufio.NewReader(c).ReadString('\n')
			r := n.records.wait(t, 1)
			if r.Reason != exchange.ReasonStreamIdleTimeout || !strings.Contains(line, " 504 ") {
				t.Errorf("%d %s, answered %q", r.Status, r.Reason, line)
			}
		})
	}
}
