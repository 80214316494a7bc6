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

// TestAnIdleConnectionIsEndedBeforeItsEndpointDoes, as that says in its last answer.
func TestAnIdleConnectionIsEndedBeforeItsEndpointDoes(t *testing.T) {
	says := make(chan string, 1)
	n := startNode(t, 1)
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nok", <-says)
		}
	}))
	u.Pool.IdleTimeout = 4 * time.Second
	n.apply(nil, forwardAll(u))
	l := handLoop(n)
	client := l.handTCP(t)
	answers := bufio.NewReader(client)
	for i, c := range []struct {
		field string
		idle  time.Duration // 0: it is not kept
	}{
		{"", 4 * time.Second},
		{"Keep-Alive: timeout=3\r\n", 2 * time.Second},
		{"Keep-Alive: timeout=1\r\n", time.Second / 2},
		{"", 4 * time.Second},
		{"Keep-Alive: timeout=60, max=100\r\n", 4 * time.Second},
		{"Keep-Alive: timeout=0\r\n", 0},
		{"Keep-Alive: timeout=5\r\n", 4 * time.Second},
	} {
		says <- c.field
		if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		l.turns(t, "the answer", func() bool { return n.records.byLoop[0].Load() > int64(i) })
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		var idle time.Duration
		if up := n.up(l); up != nil {
			idle = time.Duration(up.idleUntil - l.now)
		}
		if idle > c.idle || idle < c.idle-time.Second/4 {
			t.Errorf("%q: it may be idle for %s, want %s", c.field, idle, c.idle)
		}
	}
}

// TestAConnectionWithLittleTimeIsNotReplacedAtOnce: each request would open another.
func TestAConnectionWithLittleTimeIsNotReplacedAtOnce(t *testing.T) {
	u := keepsWarm(1, "127.0.0.1:9")
	u.Pool.IdleTimeout = time.Minute
	l, p := poolOf(t, u)
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	c.idleFor = int64(time.Second)
	l.opened(c)
	l.now = c.idleUntil - int64(time.Second/2)*9/10
	if l.expireUp(c); p.lacks() != 0 {
		t.Error("replaced too early")
	}
}

// TestNoRequestGetsAConnectionWhoseTimeIsOver: its timer may come late.
func TestNoRequestGetsAConnectionWhoseTimeIsOver(t *testing.T) {
	l, p := poolOf(t, newUpstream("u", "127.0.0.1:9"))
	c, far := pairedUp(t, l, p)
	defer unix.Close(far)
	l.opened(c)
	l.now = c.idleUntil - 1
	if l.takeIdle(p) != c {
		t.Fatal("its time is not over")
	}
	l.passOn(c)
	l.now = c.idleUntil
	if l.takeIdle(p) != nil || !c.link.closed || p.Open() != 0 {
		t.Error("its time is over")
	}
}
