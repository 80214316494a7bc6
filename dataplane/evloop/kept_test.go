//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const goodbye408 = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

// TestNoRequestGetsAKeptConnectionThatHasEnded as far as the loop has heard of it: the request's
// edge may stand before that of the end in the list of those that came together. A POST could not
// be tried again.
func TestNoRequestGetsAKeptConnectionThatHasEnded(t *testing.T) {
	for name, end := range map[string]func(net.Conn){
		"the end": func(c net.Conn) { _ = c.Close() },
		"a reset": reset,
		"408":     func(c net.Conn) { _, _ = io.WriteString(c, goodbye408) },
	} {
		t.Run(name, func(t *testing.T) {
			accepting, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer accepting.Close()
			n := startNode(t, 1)
			n.apply(nil, forwardAll(newUpstream("u", accepting.Addr().String())))
			l := handLoop(n)
			client := l.handTCP(t)
			answers := bufio.NewReader(client)
			var last net.Conn
			ask := func() {
				t.Helper()
				if _, err := io.WriteString(client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
					t.Fatal(err)
				}
			}
			answer := func() {
				t.Helper()
				l.turns(t, "a connection", func() bool { c := n.up(l); return c != nil && c.connected && c.stream != nil })
				if last, err = accepting.Accept(); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { last.Close() })
				_ = last.SetDeadline(time.Now().Add(10 * time.Second))
				if req, err := http.ReadRequest(bufio.NewReader(last)); err != nil || req.Method != "POST" {
					t.Fatal(req, err)
				}
				_, _ = io.WriteString(last, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				l.turns(t, "the answer", func() bool { return n.up(l) != nil && n.up(l).idle })
				if resp, err := http.ReadResponse(answers, nil); err != nil || resp.StatusCode != 200 {
					t.Fatal(resp, err)
				} else if _, err := io.ReadAll(resp.Body); err != nil {
					t.Fatal(err)
				}
			}
			ask()
			answer()
			kept := n.up(l)
			ask()
			end(last)
			eventually(t, "what the endpoint has said", func() bool {
				_, _, err := unix.Recvfrom(kept.link.fd, make([]byte, 1), unix.MSG_PEEK)
				return err != unix.EAGAIN
			})
			answer()
			if r := n.records.wait(t, 2); r.Status != 200 || r.Attempts != 1 {
				t.Errorf("%d %s after %d attempts", r.Status, r.Reason, r.Attempts)
			}
		})
	}
}

// TestA408ThatCrossedWithTheRequestIsNotItsAnswer: of an idle connection some endpoints take leave
// so (RFC 9110 section 15.5.9).
func TestA408ThatCrossedWithTheRequestIsNotItsAnswer(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		if _, err := r.ReadByte(); err == nil { // the next one is on its way
			_, _ = io.WriteString(c, goodbye408)
		}
	}))))
	c := n.dial()
	r := bufio.NewReader(c)
	ask := func(method string) *http.Response {
		t.Helper()
		fmt.Fprintf(c, "%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", method)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(resp.Body)
		return resp
	}
	for i := range 4 {
		if resp := ask("GET"); resp.StatusCode != 200 {
			t.Fatalf("request %d: %s", i, resp.Status)
		}
	}
	if rec := n.records.wait(t, 2); rec.Attempts != 2 {
		t.Errorf("%d attempts", rec.Attempts)
	}
	if resp := ask("POST"); resp.StatusCode != 408 { // its client decides
		t.Errorf("POST: %s", resp.Status)
	}
}
