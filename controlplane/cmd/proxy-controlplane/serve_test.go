package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/seal"
)

func TestItServesUntilToldToStopAndKeepsWhatItWasTold(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	p := start(t, dir)
	if code, text := p.call("POST", api.PathApply, route); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, text)
	}
	before := p.status()
	if before.Revision != 1 || before.Build.Version == "" {
		t.Errorf("status %+v", before)
	}
	if !strings.Contains(p.stderr.String(), "msg=ready rest="+p.REST+" grpc="+p.GRPC) {
		t.Errorf("no ready line with the addresses:\n%s", p.stderr)
	}
	if conn, err := net.Dial("tcp", p.GRPC); err != nil {
		t.Error(err)
	} else {
		_ = conn.Close()
	}
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, p.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, addressesFile)); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", addressesFile, err)
	}

	again := start(t, dir)
	if after := again.status(); after.Version != before.Version {
		t.Errorf("was %+v, after a restart %+v", before.Version, after.Version)
	}
}

func TestAnOpenEventStreamDoesNotHoldUpTheEnd(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	p := start(t, t.TempDir())
	response, err := http.Get("http://" + p.REST + api.PathEvents)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	begin := time.Now()
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, p.stderr)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the end took %s", took)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the stream was cut, not ended: %v", err)
	}
}

func TestTwoProcessesDoNotShareADirectoryOrAPort(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	dir := t.TempDir()
	p := start(t, dir)
	for _, c := range []struct{ says, flag, value string }{
		{"in use by another process", "--data-dir", dir},
		{"--rest-address", "--rest-address", p.REST},
		{"--grpc-address", "--grpc-address", p.GRPC},
	} {
		args := []string{"--data-dir", t.TempDir(), c.flag, c.value}
		second := launch(t, args...)
		select {
		case <-second.done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the second runs:\n%s", c.flag, second.stderr)
		}
		if second.code != exitFailed || !strings.Contains(second.stderr.String(), c.says) {
			t.Errorf("%s: exit status %d:\n%s", c.flag, second.code, second.stderr)
		}
	}
	if s := p.status(); s.Epoch == 0 {
		t.Errorf("the first suffered: %+v", s)
	}
}

func TestAnExternalEtcdMayComeLater(t *testing.T) {
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	endpoint, peer := freeURL(t), freeURL(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "of-all.key")
	if _, err := seal.CreateFile(key); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "--data-dir", dir, "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	p.until("waiting", func() bool { return strings.Contains(p.stderr.String(), "waiting for it") })
	if !strings.Contains(p.stderr.String(), "connection refused") {
		t.Errorf("why it does not answer is not told:\n%s", p.stderr)
	}

	externalEtcd(t, endpoint, peer)
	t.Cleanup(func() { p.end() }) // before its etcd

	p.ready(dir)
	if code, text := p.call("POST", api.PathApply, route); code != http.StatusOK {
		t.Fatalf("apply: %d %s", code, text)
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !os.IsNotExist(err) {
		t.Errorf("an embedded etcd was started too: %v", err)
	}
	// A second replica sees the same.
	other := start(t, t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", key)
	if a, b := p.status(), other.status(); a.Version != b.Version || a.Revision != 1 {
		t.Errorf("replicas at %+v and %+v", a.Version, b.Version)
	}
	if code := other.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, other.stderr)
	}
	// One with a seal key of its own is none.
	stranger := filepath.Join(dir, "another.key")
	if _, err := seal.CreateFile(stranger); err != nil {
		t.Fatal(err)
	}
	third := launch(t, "--data-dir", t.TempDir(), "--etcd-endpoints", endpoint.String(), "--seal-key-file", stranger)
	select {
	case <-third.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("a replica with another seal key runs:\n%s", third.stderr)
	}
	if third.code != exitFailed || !strings.Contains(third.stderr.String(), "the store is sealed under key") {
		t.Errorf("exit status %d:\n%s", third.code, third.stderr)
	}
}

func TestASignalWhileWaitingForEtcdEndsIt(t *testing.T) {
	endpoint := freeURL(t)
	dir := t.TempDir()
	if _, err := seal.CreateFile(filepath.Join(dir, sealKeyName)); err != nil {
		t.Fatal(err)
	}
	p := launch(t, "--data-dir", dir, "--etcd-endpoints", endpoint.String())
	p.until("waiting", func() bool { return strings.Contains(p.stderr.String(), "waiting for it") })
	if code := p.end(); code != exitDone {
		t.Errorf("exit status %d:\n%s", code, p.stderr)
	}
}

// freeURL is where nobody listens. Its port is none of those that the kernel gives to whoever
// asks for any, from 32768 on: no other test's listener takes it meanwhile.
func freeURL(t *testing.T) url.URL {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000)))
		if err == nil {
			l.Close()
			return url.URL{Scheme: "http", Host: l.Addr().String()}
		}
	}
	t.Fatal("no free port")
	return url.URL{}
}
