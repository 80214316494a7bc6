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

// TestARefusedRequestSaysWhyInTheRecord, and what is known of it: method and version, if the
// request line was right.
func TestARefusedRequestSaysWhyInTheRecord(t *testing.T) {
	n := startNode(t, 1)
	all := forwardAll(newUpstream("u", strictEcho(t)))
	for i, c := range []struct {
		begin, rest    string // rest comes when the node has read what is before
		status         uint16
		detail, method string
		minor          uint8
	}{
		{"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "", 400, "length_and_encoding", "GET", 1},
		{"GET / HTTP/1.1\r\nHost: a\r\n", " folded\r\n", 400, "obs_fold", "GET", 1},
		{"\r\nFOO x HTTP/1.1\r\n", "", 400, "bad_target", "FOO", 1},
		{"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "", 400, "repeated_host", "GET", 0},
		{"GET / HTTP/1.1\r\nHost: a\r\n", "", 408, "", "GET", 1}, // the rest does not come
		{"GET / HTTP/2.0\r\n", "", 505, "unsupported_version", "", 0},
		{"GET / HTT", "P/1.1\n", 400, "bare_lf", "", 0},
		{"\x16\x03\x01", "", 400, "bad_method", "", 0},
	} {
		n.apply(func(l *table.Listener) {
			if c.status == 408 {
				l.Timeouts.RequestHead = 50 * time.Millisecond
			}
		}, all)
		conn := n.dial()
		_, _ = io.WriteString(conn, c.begin)
		if c.rest != "" {
			eventually(t, "the beginning", func() bool { return n.engine.BufferBytes() > 0 })
			_, _ = io.WriteString(conn, c.rest)
		}
		r := n.records.wait(t, i+1)
		if r.Detail != c.detail || r.Status != c.status || string(r.Method) != c.method || r.Minor != c.minor {
			t.Errorf("%q: %d %s %s, method %q of HTTP/1.%d", c.begin, r.Status, r.Reason, r.Detail, r.Method, r.Minor)
		}
		conn.Close()
		eventually(t, "the end", func() bool { return n.engine.clients() == 0 })
	}
}

// TestAHEADThatIsRefusedIsAnsweredWithoutABody (RFC 9110 section 9.3.2).
func TestAHEADThatIsRefusedIsAnsweredWithoutABody(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", strictEcho(t))))
	for _, line := range []string{"HEAD / HTTP/1.1", "HEAD nowhere HTTP/1.1"} {
		got := n.talk(line + "\r\nHost: a\r\nHost: b\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.HasSuffix(got, "\r\n\r\n") || !strings.Contains(got, "Content-Length: ") {
			t.Errorf("%s: %q", line, got)
		}
	}
}
