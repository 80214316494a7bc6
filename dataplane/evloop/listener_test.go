//go:build linux

package evloop

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

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
	for round := range 10 {
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
