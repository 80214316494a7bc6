//go:build linux

package evloop

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestLimitsHoldForConnectionsThatAreKept changes the limits of requests while a
// connection of either protocol stands idle: the next request is held to them.
func TestLimitsHoldForConnectionsThatAreKept(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", startBackend(t, echo))
	limit := func(l table.Limits) {
		n.apply(func(to *table.Listener) { to.Limits = l }, forwardAll(u))
	}
	wide := table.Limits{HeaderBytes: 64 << 10, HeaderFields: 100, BodyBytes: -1}
	request := func(fields, head, body int) string {
		return fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%sx: %s\r\n\r\n%s",
			body, strings.Repeat("a: b\r\n", fields), strings.Repeat("c", head), strings.Repeat("d", body))
	}
	two := h2client(t)
	ask2 := func(fields, head, body int) (int, error) {
		r, _ := http.NewRequest(http.MethodPost, "http://"+n.address+"/", strings.NewReader(strings.Repeat("d", body)))
		for range fields {
			r.Header.Add("a", "b")
		}
		r.Header.Set("x", strings.Repeat("c", head))
		resp, err := two.Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	for _, c := range []struct {
		name               string
		fields, head, body int
		narrow             table.Limits
		status             int
	}{
		{"fields", 50, 1, 1, table.Limits{HeaderBytes: 64 << 10, HeaderFields: 20, BodyBytes: -1}, 431},
		{"head", 1, 20_000, 1, table.Limits{HeaderBytes: 10_000, HeaderFields: 100, BodyBytes: -1}, 431},
		{"body", 1, 1, 5000, table.Limits{HeaderBytes: 64 << 10, HeaderFields: 100, BodyBytes: 4000}, 413},
	} {
		for _, l := range []struct {
			limits table.Limits
			status int
		}{{wide, 200}, {c.narrow, c.status}, {wide, 200}} {
			limit(wide)
			one := n.from("127.0.0.1")
			if got, err := statusOf(one, ""); err != nil || got != 200 {
				t.Fatalf("%s: HTTP/1.1 before: %d %v", c.name, got, err)
			}
			if got, err := ask2(0, 1, 1); err != nil || got != 200 {
				t.Fatalf("%s: HTTP/2 before: %d %v", c.name, got, err)
			}
			opened := clientsOpen(n)
			limit(l.limits)
			if _, err := io.WriteString(one, request(c.fields, c.head, c.body)); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(one), nil)
			if err != nil || resp.StatusCode != l.status {
				t.Errorf("%s: HTTP/1.1: %v %v, want %d", c.name, resp, err, l.status)
			}
			if got, err := ask2(c.fields, c.head, c.body); err != nil || got != l.status {
				t.Errorf("%s: HTTP/2: %d %v, want %d", c.name, got, err, l.status)
			}
			if now := clientsOpen(n); now > opened {
				t.Errorf("%s: a connection was opened anew", c.name)
			}
			one.Close()
		}
	}
}
