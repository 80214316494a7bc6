package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

// page opens a WebSocket, and shows what comes back. Its image comes when it has shown
// it, so until then it is not loaded, and a browser that prints what is loaded waits.
const page = `<!DOCTYPE html><title>echo</title><p id="said">nothing</p><img src="/held">
<script>
const said = text => { document.getElementById("said").textContent = text; fetch("/seen"); };
const socket = new WebSocket("wss://" + location.host + "/socket");
socket.onopen = () => socket.send("from the browser");
socket.onmessage = m => said("heard " + m.data);
socket.onerror = () => said("an error");
</script>
`

// pageServer serves the page, and echoes what its WebSocket says.
func pageServer(t *testing.T) string {
	t.Helper()
	seen := make(chan struct{})
	once := sync.OnceFunc(func() { close(seen) })
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	})
	mux.HandleFunc("/seen", func(http.ResponseWriter, *http.Request) { once() })
	mux.HandleFunc("/held", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-seen:
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: []string{"*"}})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, text, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, text) != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(once)
	return server.Listener.Addr().String()
}

// browse has a browser load a page from a node, which is every name's, and returns what
// the page is then.
func browse(t *testing.T, n *fleettest.Node, url string) (dom string) {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("the browser is optional (CONTRIBUTING.md): ", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 60*time.Second)
	defer stop()
	c := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
		"--user-data-dir="+t.TempDir(), "--ignore-certificate-errors",
		"--host-resolver-rules=MAP shop.test "+n.Address+", MAP * ~NOTFOUND", "--dump-dom", url)
	var messages strings.Builder
	c.Stderr, c.WaitDelay = &messages, 5*time.Second // in which its children end
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, messages.String())
	}
	return string(out)
}

// TestABrowsersWebSocketPasses over the connection of HTTP/2 that its page came on, as
// browsers do where a server allows it (RFC 8441).
func TestABrowsersWebSocketPasses(t *testing.T) {
	root := certificatetest.Root(t, "root")
	f := withHTTPS(t, 1, root.Issue(t, certificatetest.Options{Names: []string{"shop.test"}}))
	f.Apply("kind: Upstream\nname: page\nspec: {endpoints: [{address: " + pageServer(t) + "}]}\n---\n" +
		"kind: Route\nname: page\nspec: {hosts: [shop.test], match: {path: {prefix: /}}, forward: [{upstream: page}]}\n")
	f.WaitNodes()
	if dom := browse(t, f.Nodes[0], "https://shop.test:8443/"); !strings.Contains(dom, `<p id="said">heard from the browser</p>`) {
		t.Errorf("the page became\n%s", dom)
	}
	var socket map[string]any
	fleettest.Wait(t, 10*time.Second, "the log line of the WebSocket", func() bool {
		text, err := os.ReadFile(filepath.Join(f.Dir, f.Nodes[0].ID+".access.log"))
		if err != nil {
			return false
		}
		for line := range strings.Lines(string(text)) {
			var record map[string]any
			if json.Unmarshal([]byte(line), &record) == nil && record["path"] == "/socket" {
				socket = record
			}
		}
		return socket != nil
	})
	if socket["method"] != http.MethodConnect || socket["protocol"] != "HTTP/2" {
		t.Errorf("not by the page's connection: %v", socket)
	}
}
