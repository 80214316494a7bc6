package loadgen

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"testing"
	"time"
)

// backendFor runs a backend until the end of the test; count asks it.
func backendFor(t *testing.T, http2 ...bool) (address netip.AddrPort, count func() (requests, open int)) {
	t.Helper()
	return runBackend(t, RunBackend, BackendOptions{Size: 1024, HTTP2: len(http2) > 0})
}

// serverFor runs a server of long bodies until the end of the test.
func serverFor(t *testing.T, size int) (address netip.AddrPort, count func() (requests, open int)) {
	t.Helper()
	return runBackend(t, RunServer, BackendOptions{Size: size})
}

func runBackend(t *testing.T, run func(BackendOptions) error, o BackendOptions) (address netip.AddrPort, count func() (requests, open int)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	controlRead, controlWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outRead, outWrite := io.Pipe()
	done := make(chan error, 1)
	go func() {
		o.Listen, o.Control, o.Out = address, controlRead, outWrite
		err := run(o)
		outWrite.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		controlWrite.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		controlRead.Close()
	})
	answers := bufio.NewReader(outRead)
	count = func() (requests, open int) {
		t.Helper()
		if _, err := io.WriteString(controlWrite, "count\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fscan(answers, &requests, &open); err != nil {
			t.Fatal(err)
		}
		return requests, open
	}
	count() // it listens
	return address, count
}

// secured makes a listener of TLS in front of a backend, which it copies to.
func secured(t *testing.T, backend netip.AddrPort, noTickets ...bool) netip.AddrPort {
	t.Helper()
	ca := httptest.NewUnstartedServer(nil)
	ca.StartTLS() // has a certificate
	certificates := ca.TLS.Certificates
	ca.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: certificates, NextProtos: []string{"http/1.1"}, SessionTicketsDisabled: len(noTickets) > 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serveEach(l, func(c net.Conn) {
		b, err := net.Dial("tcp", backend.String())
		if err != nil {
			return
		}
		defer b.Close()
		go func() { _, _ = io.Copy(b, c); b.Close() }()
		_, _ = io.Copy(c, b)
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// serveEach serves each connection until the listener is closed.
func serveEach(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

// Go's client is a stranger that counts windows, numbers and lengths.
func TestTheBackendSpeaksHTTP2(t *testing.T) {
	address, count := backendFor(t, true)
	transport := &http.Transport{Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: 64 << 10}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	const workers, each = 200, 5 // more at once than a window of 64 KiB has room for
	errs := make(chan error, workers)
	for range workers {
		go func() {
			for range each {
				r, err := client.Get("http://" + address.String() + "/")
				if err != nil {
					errs <- err
					return
				}
				body, err := io.ReadAll(r.Body)
				r.Body.Close()
				if err != nil || r.ProtoMajor != 2 || r.StatusCode != 200 || len(body) != 1024 || r.ContentLength != 1024 || r.Header.Get("Date") == "" {
					errs <- fmt.Errorf("%s %s, %d bytes, %v: %w", r.Proto, r.Status, len(body), r.Header, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n, _ := count(); n != workers*each {
		t.Errorf("%d answered, want %d", n, workers*each)
	}
}

func TestABackendOfHTTP2RefusesWhatIsNone(t *testing.T) {
	address, count := backendFor(t, true)
	for _, bytes := range []string{"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", preface + "\xff\xff\xff\x00\x00\x00\x00\x00\x01"} {
		c, err := net.Dial("tcp", address.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, bytes); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: the connection stays", bytes)
		}
		c.Close()
	}
	if n, _ := count(); n != 0 {
		t.Errorf("%d answered", n)
	}
}

func TestAServerAnswersAfterTheWholeBody(t *testing.T) {
	address, count := serverFor(t, 100)
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	post := Post("a.test", "/", 32<<10)
	if _, err := c.Write(post[:len(post)-1]); err != nil {
		t.Fatal(err)
	}
	if n, _ := count(); n != 0 {
		t.Error("it answered before the body had come")
	}
	if err := exchange(c, post[len(post)-1:], make([]byte, readAnswer)); err != nil {
		t.Error(err)
	}
	if n, open := count(); n != 1 || open != 1 {
		t.Errorf("%d requests, %d open", n, open)
	}
}
