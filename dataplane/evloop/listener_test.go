//go:build linux

package evloop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestARemovedListenerAnswersWhatCameAndClosesTheRest(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	c := n.dial()
	r := bufio.NewReader(c)
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(err)
	}
	if err := n.engine.Apply(context.Background(), &table.Table{Version: table.Version{Epoch: 1, Revision: 99}}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	if _, err := net.DialTimeout("tcp", n.address, time.Second); err == nil {
		t.Error("the port still accepts")
	}
}

func TestAPortInUseIsToldAndChangesNothing(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := n.listener()
	l.Name, l.Port = "other", uint16(taken.Addr().(*net.TCPAddr).Port)
	before := n.engine.Live().Load()
	err = n.engine.Apply(context.Background(), &table.Table{Listeners: []table.Listener{l}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Fatalf("got %v", err)
	}
	if n.engine.Live().Load() != before {
		t.Error("the table was swapped")
	}
	if resp := n.get("/"); resp.StatusCode != 200 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestRemovingAListenerAnswersEveryConnectionThatTheKernelCompleted removes the
// listener while clients connect as fast as they can.
func TestRemovingAListenerAnswersEveryConnectionThatTheKernelCompleted(t *testing.T) {
	n := startNode(t, 2)
	ping := func() *table.Route {
		return &table.Route{
			Name: "ping", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond, Timeout: time.Second,
			Respond: &table.Respond{Status: 200, Body: []byte("pong")},
		}
	}
	answered, refused := 0, 0
	for round := range 5 {
		n.apply(nil, ping())
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					c, err := net.DialTimeout("tcp", n.address, 300*time.Millisecond)
					if err != nil {
						mu.Lock()
						refused++ // after the removal: not counted as a loss
						mu.Unlock()
						continue
					}
					fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
					_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
					all, err := io.ReadAll(c)
					c.Close()
					if !strings.HasSuffix(string(all), "pong") {
						t.Errorf("round %d: a completed connection got %q, %v", round, all, err)
					}
					mu.Lock()
					answered++
					mu.Unlock()
				}
			})
		}
		eventually(t, "answers", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return answered > (round+1)*200
		})
		if err := n.engine.Apply(context.Background(), &table.Table{}); err != nil {
			t.Fatal(err)
		}
		close(stop)
		wg.Wait()
	}
	t.Logf("%d connections answered, %d not accepted", answered, refused)
}

// TestHandshakesThatHadBegunEndWellWhereAListenerIsRemoved: the last packets of theirs
// come when it is gone. Whoever comes then is not answered, until it is there again.
func TestHandshakesThatHadBegunEndWellWhereAListenerIsRemoved(t *testing.T) {
	const clients = 16
	n := startNode(t, 2)
	n.apply(nil, respond("pong"))
	needsFilters(t)
	// The kernel sends the last packet of such a client's handshake with its first bytes,
	// or 200 ms later.
	late := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1); err != nil {
				t.Error(err)
			}
		})
	}}
	ask := func(c net.Conn) {
		t.Helper()
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if all, err := io.ReadAll(c); !strings.HasSuffix(string(all), "pong") {
			t.Errorf("%q, %v", all, err)
		}
	}
	var conns [clients]net.Conn
	for i := range conns {
		c, err := late.Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	nothing := &table.Table{Version: table.Version{Epoch: 1, Revision: 99}}
	remove := func() {
		t.Helper()
		if err := n.engine.Apply(context.Background(), nothing); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	for _, c := range conns {
		ask(c)
	}
	n.apply(nil, respond("pong"))
	begun := time.Now()
	for range clients {
		ask(n.dial())
	}
	if took := time.Since(begun); took > clients/4*time.Second { // each one whose SYN is dropped takes a second
		t.Errorf("as it came again %d clients took %s", clients, took)
	}
	remove()
	eventually(t, "the end of its sockets", func() bool {
		c, err := net.DialTimeout("tcp", n.address, 5*time.Second)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	})
}
