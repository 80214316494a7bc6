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
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http1/http1test"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// strictEcho reads requests with our own strict reader and answers with the body
// that came. What the node forwards must satisfy it.
func strictEcho(t *testing.T) string {
	t.Helper()
	return rawServer(t, func(c net.Conn) {
		var r http1.Reader
		r.Init(http1.Server, http1.Limits{HeadBytes: 1 << 20, Fields: 1000})
		var head message.Head
		var in, body []byte
		buf := make([]byte, 32<<10)
		isHead := false
		for {
			ev := r.Next(in, &head)
			switch ev.Kind {
			case http1.NeedMore:
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				in = append(in, buf[:n]...)
				continue
			case http1.Head:
				isHead = head.Method == message.MethodHead
			case http1.Data:
				body = append(body, in[ev.Start:ev.End]...)
			case http1.End:
				answer := fmt.Sprintf("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n", len(body))
				if !isHead {
					answer += string(body)
				}
				if _, err := io.WriteString(c, answer); err != nil {
					return
				}
				body = nil
			case http1.Failed:
				t.Errorf("the node forwarded what it should have refused: %s in %q", ev.Reason, in)
				return
			}
			in = in[ev.N:]
		}
	})
}

// TestTheTableOfCasesHoldsOverTheEngine sends every case of the codec's table to
// a node, whole and cut in two, and compares what comes back.
func TestTheTableOfCasesHoldsOverTheEngine(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", strictEcho(t))
	apply := func(o message.PathOptions) {
		n.apply(func(l *table.Listener) { l.Path = o }, forwardAll(u))
	}
	var last message.PathOptions
	apply(last)
	ran := 0
	for _, c := range http1test.Cases() {
		if c.Role != http1.Server || !completeCase(&c) || strings.HasPrefix(c.Input, http2.Preface) {
			continue // what begins as HTTP/2 without TLS is HTTP/2
		}
		if c.Options != last {
			last = c.Options
			apply(last)
		}
		ran++
		for _, cut := range []int{len(c.Input), len(c.Input) / 2} {
			if got, want := n.playCase(&c, cut), wantOf(&c); got != want {
				t.Errorf("%s (%s), cut at %d of %d: got %s, want %s\n%q", c.Name, c.Section, cut, len(c.Input), got, want, abbreviated(c.Input))
			}
		}
	}
	t.Logf("%d cases", ran)
	if ran < 200 {
		t.Errorf("only %d cases", ran)
	}
}

// completeCase leaves out what ends by the client's closing: there is no answer
// to compare.
func completeCase(c *http1test.Case) bool {
	return c.Reason != http1.TruncatedHead && c.Reason != http1.TruncatedBody && c.Input != ""
}

func abbreviated(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}

// wantOf is what a node must answer: a status for each message.
func wantOf(c *http1test.Case) string {
	var out []string
	for _, m := range c.Accept {
		method, _, _ := strings.Cut(m.Line, " ")
		switch {
		case method == "CONNECT":
			return strings.Join(append(out, "403"), " ")
		case c.Problem != message.PathOK:
			return "400"
		case method == "HEAD":
			out = append(out, "200")
		default:
			out = append(out, "200:"+m.Body)
		}
	}
	if status := c.Status(); status != 0 {
		out = append(out, fmt.Sprint(status))
	}
	return strings.Join(out, " ")
}

// answersOf is how many answers wantOf has.
func answersOf(c *http1test.Case) int {
	if c.Problem != message.PathOK {
		return 1
	}
	n := len(c.Accept)
	if c.Status() != 0 {
		n++
	}
	return n
}

// playCase sends the input of a case, in two parts, and reads as many answers as
// the case has.
func (n *node) playCase(c *http1test.Case, cut int) string {
	n.t.Helper()
	conn, err := n.connect()
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, c.Input[:cut])
		if cut < len(c.Input) {
			_, _ = io.WriteString(conn, c.Input[cut:])
		}
	}()
	var out []string
	r := bufio.NewReader(conn)
	wanted := answersOf(c)
	for i := 0; i < wanted; i++ {
		// A long wait where the answer is late, a short one for the last: a node that
		// waits for more than it needs is wrong.
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		method := "GET"
		if i < len(c.Accept) {
			method, _, _ = strings.Cut(c.Accept[i].Line, " ")
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			out = append(out, err.Error())
			break
		}
		body, err := io.ReadAll(resp.Body)
		text := fmt.Sprint(resp.StatusCode)
		if resp.StatusCode == http.StatusOK && method != "HEAD" {
			text += ":" + string(body)
		}
		if err != nil {
			text += " " + err.Error()
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestARefusedRequestSaysWhyInTheRecord(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", strictEcho(t))))
	n.talk("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonMalformedRequest || r.Detail != "length_and_encoding" || r.Status != 400 {
		t.Errorf("%d %s %s", r.Status, r.Reason, r.Detail)
	}
}
