package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/waittest"
)

// stuck is a pipe whose reader has stopped. It never takes a byte.
type stuck struct{}

func (stuck) Write([]byte) (int, error) { select {} }

// TestANodeWhoseMessagesNobodyReadsServes: the journal's disk is full, or what collects the logs
// of a container hangs.
func TestANodeWhoseMessagesNobodyReadsServes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // which a node sets
	file := filepath.Join(t.TempDir(), "shop.yaml")
	adminAddress, port := freePort(t), freePort(t)
	_, number, _ := net.SplitHostPort(port)
	config := fmt.Sprintf("kind: Listener\nname: web\nspec: {port: %s, protocol: HTTP}\n---\n"+
		"kind: Route\nname: ping\nspec: {match: {path: {exact: /ping}}, respond: {status: 200}}\n", number)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	reload := make(chan os.Signal, 1)
	go func() {
		ended <- run(ctx, []string{
			"--node-id", "n", "--resources", file, "--listen-address", "127.0.0.1", "--access-log", "off", "--loops", "1",
			"--admin-address", adminAddress, "--log-level", "debug",
		}, world{getenv: func(string) (string, bool) { return "", false }, stdout: io.Discard, stderr: stuck{}, reload: reload})
	}()
	defer func() {
		stop()
		if status := <-ended; status != exitDone {
			t.Errorf("status %d", status)
		}
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(url string) (body string, ok bool) {
		response, err := client.Get(url)
		if err != nil {
			return "", false
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		return string(text), err == nil && response.StatusCode == http.StatusOK
	}
	waittest.Until(t, "it to serve", func() bool {
		_, ok := get("http://" + port + "/ping")
		return ok
	})
	// What is wrong is told of each resource.
	wrong := strings.Repeat("kind: Route\nname: x\nspec: {wrong: "+strings.Repeat("x", 1<<10)+"}\n---\n", 4<<10)
	if err := os.WriteFile(file, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	reload <- syscall.SIGHUP
	waittest.Until(t, "what could not be written to be counted", func() bool {
		text, ok := get("http://" + adminAddress + "/metrics")
		return ok && strings.Contains(text, "proxyfleet_messages_dropped_total ") && !strings.Contains(text, "proxyfleet_messages_dropped_total 0\n")
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
