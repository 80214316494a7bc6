package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/e2e/fleettest"
	"github.com/proxyfleet/proxyfleet/proto/certificate/certificatetest"
)

const httpsListener = "kind: Listener\nname: https\nspec: {port: 8443, protocol: HTTPS, tls: {certificates: [site]}}\n---\n"

// withHTTPS is a fleet with an HTTPS listener.
func withHTTPS(t *testing.T, nodes int, p *certificatetest.Pair) *fleettest.Fleet {
	t.Helper()
	f := fleettest.New(t, fleettest.Options{Nodes: nodes})
	f.Apply(httpsListener + certificateDocument(t, "site", p) + pingRoute + "one}}\n")
	f.WaitNodes()
	return f
}

// certificateDocument is a certificate as REST takes it.
func certificateDocument(t *testing.T, name string, p *certificatetest.Pair) string {
	t.Helper()
	text, err := json.Marshal(map[string]any{"kind": "Certificate", "name": name, "spec": map[string]string{"chain": p.Chain, "key": p.Key}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n---\n"
}

// httpsClient speaks HTTP/1.1 over TLS to one node, whatever the URL's host, each
// time on a new connection.
func httpsClient(t *testing.T, n *fleettest.Node, root *certificatetest.Pair, cache tls.ClientSessionCache) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "shop.test", ClientSessionCache: cache, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", n.Address+":8443")
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// getTLS asks once, and says what the connection was like.
func getTLS(c *http.Client) (*tls.ConnectionState, error) {
	resp, err := c.Get("https://shop.test/ping")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(text) != "one" {
		return nil, fmt.Errorf("status %d, %q, %w", resp.StatusCode, text, err)
	}
	return resp.TLS, nil
}

// keepTLS opens one connection to a node, and asks on it for as long as it lasts:
// unlike an http.Client it never takes another.
func keepTLS(t *testing.T, n *fleettest.Node, root *certificatetest.Pair) (ask func() error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	c, err := tls.Dial("tcp", n.Address+":8443", &tls.Config{RootCAs: pool, ServerName: "shop.test", MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	in := bufio.NewReader(c)
	return func() error {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "GET /ping HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		defer resp.Body.Close()
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "one" || resp.Close {
			return fmt.Errorf("%q, close %v, %w", text, resp.Close, err)
		}
		return nil
	}
}

// TestACertificateIsReplacedUnderLoadAndNoConnectionNotices replaces it 20 times
// while new connections come and others are kept.
func TestACertificateIsReplacedUnderLoadAndNoConnectionNotices(t *testing.T) {
	root := certificatetest.Root(t, "root")
	pairs := []*certificatetest.Pair{
		root.Issue(t, certificatetest.Options{Names: []string{"shop.test"}}),
		root.Issue(t, certificatetest.Options{Names: []string{"shop.test"}, Key: certificatetest.RSA(t, 2048)}),
	}
	f := withHTTPS(t, 1, pairs[0])

	ctx, stop := context.WithCancel(t.Context())
	var workers sync.WaitGroup
	var shook, kept atomic.Int64
	for range 4 {
		c := httpsClient(t, f.Nodes[0], root, nil)
		workers.Go(func() {
			for ctx.Err() == nil {
				if _, err := getTLS(c); err != nil {
					t.Errorf("a new connection: %v", err)
					return
				}
				shook.Add(1)
			}
		})
	}
	for range 4 {
		ask := keepTLS(t, f.Nodes[0], root)
		workers.Go(func() {
			for ctx.Err() == nil {
				if err := ask(); err != nil {
					t.Errorf("a kept connection, after %d requests on all of them: %v", kept.Load(), err)
					return
				}
				kept.Add(1)
			}
		})
	}
	enough := func(from int64) func() bool { return func() bool { return shook.Load() >= from+8 || t.Failed() } }
	fleettest.Wait(t, 20*time.Second, "load", enough(0))
	for i := 1; i <= 20; i++ {
		f.Apply(certificateDocument(t, "site", pairs[i%2]))
		f.WaitNodes()
		state, err := getTLS(httpsClient(t, f.Nodes[0], root, nil))
		if err != nil || state.PeerCertificates[0].SerialNumber.Cmp(pairs[i%2].Certificate.SerialNumber) != 0 {
			t.Fatalf("after replacement %d: %v, or the certificate before", i, err)
		}
		fleettest.Wait(t, 20*time.Second, "more load", enough(shook.Load()))
	}
	stop()
	workers.Wait()
	t.Logf("20 replacements during %d handshakes and %d requests on kept connections", shook.Load(), kept.Load())
}

// TestSessionsAreResumedOnOtherNodesAndAfterARestartWithoutControlPlane also holds
// that a node serves TLS from its last known good configuration.
func TestSessionsAreResumedOnOtherNodesAndAfterARestartWithoutControlPlane(t *testing.T) {
	t.Parallel()
	root := certificatetest.Root(t, "root")
	p := root.Issue(t, certificatetest.Options{Names: []string{"shop.test"}})
	f := withHTTPS(t, 2, p)
	for _, n := range f.Nodes {
		fleettest.Wait(t, 20*time.Second, "ticket keys", func() bool { return strings.Contains(n.Log(), "session-ticket keys: in force") })
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cache := tls.NewLRUClientSessionCache(1) // by the server's name: of both nodes
		on := func(n *fleettest.Node) bool {
			t.Helper()
			c := httpsClient(t, n, root, cache)
			c.Transport.(*http.Transport).TLSClientConfig.MaxVersion = version
			state, err := getTLS(c)
			if err != nil {
				t.Fatal(err)
			}
			return state.DidResume
		}
		if on(f.Nodes[0]) {
			t.Error("a session from nowhere was resumed")
		}
		if !on(f.Nodes[1]) {
			t.Errorf("%s: a session of node-1 was not resumed on node-2", tls.VersionName(version))
		}
	}

	cache := tls.NewLRUClientSessionCache(1)
	if _, err := getTLS(httpsClient(t, f.Nodes[1], root, cache)); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(f.Dir, "state", "node-1", "last-good")
	fleettest.Wait(t, 20*time.Second, "the configuration in the node's file", func() bool { return holds(kept, "one") })
	f.Control.Kill()
	f.Nodes[0].Kill()
	n := f.StartNode(1)
	fleettest.Wait(t, 20*time.Second, "the node to serve", func() bool {
		_, err := getTLS(httpsClient(t, n, root, nil))
		return err == nil
	})
	state, err := getTLS(httpsClient(t, n, root, cache))
	if err != nil || !state.DidResume || state.PeerCertificates[0].SerialNumber.Cmp(p.Certificate.SerialNumber) != 0 {
		t.Errorf("after a restart without control plane: resumed %v, %v", state != nil && state.DidResume, err)
	}
}
