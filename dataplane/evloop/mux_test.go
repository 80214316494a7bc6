//go:build linux

package evloop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// h2client is Go's client, which speaks HTTP/2 with prior knowledge.
func h2client(t *testing.T) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: p}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func TestHTTP2WithPriorKnowledgeReachesTheEndpoint(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %s", r.Proto, r.Host, r.URL))
		fmt.Fprint(w, "hello")
	}))))
	client := h2client(t)
	for i := range 3 {
		resp, err := client.Get(fmt.Sprintf("http://%s/x/%d?q", n.address, i))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "hello" || resp.ProtoMajor != 2 {
			t.Errorf("%q, %v, %s", body, err, resp.Proto)
		}
		if seen, want := resp.Header.Get("X-Seen"), fmt.Sprintf("HTTP/1.1 %s /x/%d?q", n.address, i); seen != want {
			t.Errorf("seen %q, want %q", seen, want)
		}
	}
	if r := n.records.wait(t, 3); !r.HTTP2 || r.Status != 200 {
		t.Errorf("%+v", r)
	}
	if open := clientsOpen(n); open != 1 {
		t.Errorf("%d connections", open)
	}
}

func TestAClientThatAgreesOnHTTP2GetsIt(t *testing.T) {
	n := startTLS(t, 1)
	n.serve(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	p := new(http.Protocols)
	p.SetHTTP2(true)
	transport := &http.Transport{TLSClientConfig: n.config(), Protocols: p}
	defer transport.CloseIdleConnections()
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	for range 3 {
		resp, err := (&http.Client{Transport: transport}).Post("https://"+n.address+"/", "x/y", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, body) || resp.ProtoMajor != 2 {
			t.Errorf("%d bytes of %d, %v, %s", len(got), len(body), err, resp.Proto)
		}
	}
	conn := n.dial(&tls.Config{RootCAs: n.ca.Pool(), ServerName: shop, NextProtos: []string{"http/1.1"}})
	if resp, _ := n.ask(conn); resp.StatusCode != 200 {
		t.Errorf("HTTP/1.1: %d", resp.StatusCode)
	}
}

// TestManyStreamsGoBothWaysAtOnce has bodies beyond every window in both
// directions, with and without a declared length, and trailers.
func TestManyStreamsGoBothWaysAtOnce(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Trailer", "X-Sum, X-Client")
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Sum", strconv.FormatInt(r.ContentLength, 10))
		w.Header().Set("X-Client", r.Trailer.Get("X-Client"))
	}))))
	client := h2client(t)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			sent := bytes.Repeat([]byte{byte(i)}, i*i*150)
			req, _ := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%s/%d", n.address, i), io.MultiReader(bytes.NewReader(sent)))
			if i%2 == 0 {
				req.ContentLength = int64(len(sent))
			}
			req.Trailer = http.Header{"X-Client": {strconv.Itoa(i)}}
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("request %d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
			if i%2 == 1 && resp.Trailer.Get("X-Client") != strconv.Itoa(i) {
				t.Errorf("request %d: trailers %v", i, resp.Trailer)
			}
		})
	}
	wg.Wait()
	n.records.wait(t, 60)
}

func TestOurAnswersReachClientsOfHTTP2(t *testing.T) {
	n := startNode(t, 1)
	u := newUpstream("u", startBackend(t, echo))
	n.apply(func(l *table.Listener) { l.Limits.BodyBytes = 1000 }, forwardAll(u))
	client := h2client(t)
	resp, err := client.Post("http://"+n.address+"/", "x/y", bytes.NewReader(make([]byte, 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 413 {
		t.Errorf("a body too large: %d", resp.StatusCode)
	}
	resp.Body.Close()
	req, _ := http.NewRequest(http.MethodPost, "http://"+n.address+"/", io.MultiReader(bytes.NewReader(make([]byte, 100_000))))
	if resp, err := client.Do(req); err == nil {
		if resp.StatusCode != 413 {
			t.Errorf("a body that grows too large: %d", resp.StatusCode)
		}
		resp.Body.Close()
	} else {
		t.Error(err)
	}
	if resp, err = client.Head("http://" + n.address + "/"); err != nil || resp.StatusCode != 200 {
		t.Errorf("HEAD: %v, %v", resp, err)
	}
	if open := clientsOpen(n); open != 1 {
		t.Errorf("%d connections: one was lost", open)
	}
}

// TestAnHTTP2ClientThatLeavesEndsItsExchange cancels one of two requests.
func TestAnHTTP2ClientThatLeavesEndsItsExchange(t *testing.T) {
	n := startNode(t, 1)
	gone, release := make(chan struct{}, 1), make(chan struct{})
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/cancel" {
			<-r.Context().Done()
			gone <- struct{}{}
			return
		}
		<-release
		fmt.Fprint(w, "still here")
	}))))
	client := h2client(t)
	other, err := client.Get("http://" + n.address + "/stay")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get("http://" + n.address + "/cancel")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-gone
	if r := n.records.wait(t, 1); r.Reason != exchange.ReasonClientGone {
		t.Errorf("%v", r.Reason)
	}
	close(release)
	if body, err := io.ReadAll(other.Body); err != nil || string(body) != "still here" {
		t.Errorf("%q, %v", body, err)
	}
	other.Body.Close()
}

// TestDrainingEndsHTTP2ConnectionsBetweenRequests removes the listener while a
// request is under way: it is answered, and the client goes elsewhere.
func TestDrainingEndsHTTP2ConnectionsBetweenRequests(t *testing.T) {
	n := startNode(t, 1)
	begun, release := make(chan struct{}), make(chan struct{})
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-release
		fmt.Fprint(w, "answered")
	}))))
	answer := make(chan string, 1)
	go func() {
		resp, err := h2client(t).Get("http://" + n.address + "/")
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-begun
	idle := n.dial()
	fmt.Fprint(idle, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	eventually(t, "both connections", func() bool { return clientsOpen(n) == 2 })
	go n.stop()
	_ = idle.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("an idle connection: %v", err)
	}
	close(release)
	if got := <-answer; got != "answered" {
		t.Errorf("the request under way: %s", got)
	}
}
