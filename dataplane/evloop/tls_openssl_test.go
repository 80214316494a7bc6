//go:build linux

package evloop

import (
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/secure"
)

// said gathers what a program prints.
type said struct {
	mu  sync.Mutex
	out strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

func (s *said) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.out.String(), what)
}

// openssl starts openssl's client, which takes commands as letters at the
// beginning of a line: Go's has none for what these tests need.
func (n *tlsNode) openssl(version string) (in io.Writer, out *said) {
	n.t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		n.t.Skip("openssl is not installed")
	}
	out = new(said)
	cmd := exec.CommandContext(n.t.Context(), path, "s_client", "-connect", n.address, "-servername", shop, version)
	in, err = cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return in, out
}

func TestAClientMayChangeItsKeys(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	in, out := n.openssl("-tls1_3")
	for i, command := range []string{"", "k\n", "K\n"} { // K asks the node to change its own too
		_, _ = io.WriteString(in, command)
		if command != "" {
			eventually(t, "a new key", func() bool { return out.count("KEYUPDATE") == i })
		}
		_, _ = io.WriteString(in, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		eventually(t, "an answer", func() bool { return out.count("HTTP/1.1 200 OK") == i+1 })
	}
}

func TestRenegotiationIsRefused(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	in, out := n.openssl("-tls1_2")
	n.handshakes(secure.ResultFull, 1)
	_, _ = io.WriteString(in, "R\n")
	eventually(t, "an alert", func() bool { return out.count("alert") > 0 })
	n.handshakes(secure.ResultBadRecord, 1)
}
