//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAClientWhoseExpectationDoesNotGoUpIsToldToContinue by the node, since nobody else will. An
// endpoint that fails does not keep another one from getting the body.
func TestAClientWhoseExpectationDoesNotGoUpIsToldToContinue(t *testing.T) {
	saw := make(chan string, 4)
	var failed atomic.Bool
	address := rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			saw <- req.Header.Get("Expect") + string(body)
			if failed.CompareAndSwap(false, true) {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	n := startNode(t, 1)
	route := forwardAll(newUpstream("u", address))
	route.Retry.Backoff = time.Millisecond
	route.RequestHeaders = &table.HeaderOps{Remove: []table.HeaderName{{Name: []byte("expect"), ID: message.FieldExpect}}}
	n.apply(nil, route)

	c := n.dialNode()
	r := bufio.NewReader(c)
	fmt.Fprint(c, "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
	status := func() string {
		t.Helper()
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	if line := status() + status(); line != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q", line)
	}
	fmt.Fprint(c, "body")
	if line := status(); !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Errorf("%q", line)
	}
	for range 2 {
		if got := <-saw; got != "body" {
			t.Errorf("the endpoint saw %q", got)
		}
	}

	_, f := n.framesTo()
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	block := append(append(requestBlock("PUT"), 0x0f, 0x14, 12), "100-continue"...)
	if err := f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	for want := "100"; want != ""; {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if frame, ok := frame.(*xhttp2.MetaHeadersFrame); ok {
			if got := frame.PseudoValue("status"); got != want {
				t.Fatalf("%s", got)
			}
			if want == "200" {
				break
			}
			want = "200"
			_ = f.WriteData(1, true, []byte("body"))
		}
	}
	if got := <-saw; got != "body" {
		t.Errorf("the endpoint saw %q", got)
	}
}
