//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestARequestIsForwardedAndRecorded(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	resp := n.get("/a/../b%7e?x=%20y")
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || len(body) != 0 {
		t.Fatalf("%d %q", resp.StatusCode, body)
	}
	if got, want := resp.Header.Get("X-Seen"), "GET "+n.address+" /b~?x=%20y"; got != want {
		t.Errorf("the endpoint saw %q, want %q", got, want)
	}
	if got := resp.Header.Get("X-For"); got != "127.0.0.1" {
		t.Errorf("X-Forwarded-For %q", got)
	}
	r := n.records.wait(t, 1)
	if r.Status != 200 || r.Route != "all" || r.Upstream != "u" || string(r.Path) != "/b~" || r.Attempts != 1 || r.Duration <= 0 || r.FirstByte <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestBodiesOfAnySizePassBothWays(t *testing.T) {
	n := startNode(t, 2)
	n.apply(nil, forwardAll(newUpstream("u", startBackend(t, echo))))
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 100, 4095, 65536, 65537, 1 << 20, 10<<20 + 3} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d chunked=%v", size, chunked), func(t *testing.T) {
				sent := make([]byte, size)
				for i := range sent {
					sent[i] = byte(rnd.Uint32())
				}
				var body io.Reader = bytes.NewReader(sent)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				resp, err := http.Post("http://"+n.address+"/", "x/y", body)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(got, sent) {
					t.Fatalf("got %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

func TestASlowReaderHoldsABoundedAmount(t *testing.T) {
	const size = 64 << 20
	sent := make(chan int, 1)
	backend := startBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		total := 0
		chunk := make([]byte, 64<<10)
		for total < size {
			k, err := w.Write(chunk)
			total += k
			if err != nil {
				break
			}
		}
		sent <- total
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	c := n.dial()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "bytes that wait for the reader", func() bool { return n.engine.BufferBytes() > highWater })
	select {
	case total := <-sent:
		t.Fatalf("the endpoint could send %d bytes to a client that reads none", total)
	default:
	}
	if held := n.engine.BufferBytes(); held > 512<<10 {
		t.Errorf("%d bytes of buffers for one slow reader", held)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.Copy(io.Discard, resp.Body); err != nil || got != size {
		t.Fatalf("got %d, %v", got, err)
	}
}

func TestRoutesAnswerByThemselves(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil,
		&table.Route{
			Name: "ping", Path: table.PathMatch{Kind: table.PathExact, Text: "/ping"}, Action: table.ActionRespond, Timeout: time.Second,
			Respond: &table.Respond{Status: 200, Body: []byte("pong\n"), Fields: []table.HeaderField{{Name: []byte("content-type"), Value: []byte("text/plain")}}},
		},
		&table.Route{
			Name: "home", Path: table.PathMatch{Kind: table.PathExact, Text: "/home"}, Action: table.ActionRedirect, Timeout: time.Second,
			Redirect: &table.Redirect{Status: 301, Change: table.PathReplace, Path: "/"},
		},
	)
	got := n.talk("GET /ping HTTP/1.1\r\nHost: a\r\n\r\nHEAD /ping HTTP/1.1\r\nHost: a\r\n\r\nGET /home HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.0\r\n\r\n")
	r := bufio.NewReader(strings.NewReader(got))
	for i, want := range []struct {
		method string
		status int
		body   string
	}{{"GET", 200, "pong\n"}, {"HEAD", 200, ""}, {"GET", 301, ""}, {"GET", 404, "no route takes this request"}} {
		resp, err := http.ReadResponse(r, &http.Request{Method: want.method})
		if err != nil {
			t.Fatalf("answer %d: %v in %q", i, err, got)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != want.status || !strings.Contains(string(body), want.body) {
			t.Errorf("answer %d: %d %q", i, resp.StatusCode, body)
		}
		if i == 2 && resp.Header.Get("Location") != "/" {
			t.Errorf("Location %q", resp.Header.Get("Location"))
		}
	}
}

func TestPushesCloseNothing(t *testing.T) {
	n := startNode(t, 2)
	backend := startBackend(t, echo)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	for i := range 300 {
		// The upstream is replaced by another name each time.
		n.apply(nil, forwardAll(newUpstream(fmt.Sprintf("u%d", i%3), backend)))
		req, _ := http.NewRequest("POST", "http://"+n.address+"/", strings.NewReader("body"))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("push %d: %v", i, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "body" {
			t.Fatalf("push %d: %d %q", i, resp.StatusCode, body)
		}
	}
	n.records.wait(t, 300)
	if slots := n.engine.registry.Slots(); slots > 8 {
		t.Errorf("%d endpoint slots after 300 replacements: they are not used again", slots)
	}
}

func TestTinyChunksArriveWhole(t *testing.T) {
	const chunks = 5000
	backend := rawServer(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		answer := "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + strings.Repeat("1\r\nx\r\n", chunks) + "0\r\n\r\n"
		_, _ = io.WriteString(c, answer)
		_, _ = io.Copy(io.Discard, c)
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	resp := n.get("/")
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != chunks {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	const requests = 1000
	n := startNode(t, 1)
	n.apply(nil, &table.Route{
		Name: "ping", Path: table.PathMatch{Kind: table.PathPrefix, Text: "/"}, Action: table.ActionRespond, Timeout: time.Second,
		Respond: &table.Respond{Status: 200, Body: []byte("pong")},
	})
	var b strings.Builder
	for range requests - 1 {
		b.WriteString("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	b.WriteString("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if got := strings.Count(n.talk(b.String()), "pong"); got != requests {
		t.Errorf("%d answers", got)
	}
}

// TestTrailersSayNothingThatAHeadMayNot sends, in trailers, fields that the node
// owns and fields that the route removes or sets.
func TestTrailersSayNothingThatAHeadMayNot(t *testing.T) {
	seen := make(chan string, 1)
	backend := rawServer(t, func(c net.Conn) {
		var request strings.Builder
		r := bufio.NewReader(c)
		for !strings.HasSuffix(request.String(), "X-Kept: yes\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				break
			}
			request.WriteString(line)
		}
		seen <- request.String()
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n"+
			"X-Internal: i\r\nKeep-Alive: 5\r\nX-Down: d\r\nX-Set: theirs\r\n\r\n")
	})
	route := forwardAll(newUpstream("u", backend))
	route.RequestHeaders = &table.HeaderOps{
		Remove: []table.HeaderName{{Name: []byte("x-secret")}},
		Set:    []table.HeaderField{{Name: []byte("x-team"), Value: []byte("orders")}},
	}
	route.ResponseHeaders = &table.HeaderOps{
		Remove: []table.HeaderName{{Name: []byte("x-internal")}},
		Set:    []table.HeaderField{{Name: []byte("x-set"), Value: []byte("ours")}},
	}
	n := startNode(t, 1)
	n.apply(nil, route)
	got := n.talk("POST / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" +
		"X-Forwarded-For: 6.6.6.6\r\nx-forwarded-proto: https\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n" +
		"X-Request-Id: mine\r\nX-Hop: h\r\nX-Secret: s\r\nX-Team: evil\r\nX-Kept: yes\r\n\r\n")
	if request := <-seen; !strings.HasSuffix(request, "\r\n0\r\nX-Kept: yes\r\n\r\n") {
		t.Errorf("went up: %q", request)
	}
	if !strings.HasSuffix(got, "0\r\nX-Down: d\r\n\r\n") {
		t.Errorf("came down: %q", got)
	}
}

func TestTrailersPassBothWays(t *testing.T) {
	seen := make(chan string, 1)
	backend := startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		seen <- r.Trailer.Get("X-Up")
		w.Header().Set("Trailer", "X-Down")
		fmt.Fprint(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Down", "d")
	})
	n := startNode(t, 1)
	n.apply(nil, forwardAll(newUpstream("u", backend)))
	// They are announced as they were.
	got := n.talk("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n1\r\nx\r\n0\r\nX-Up: u\r\n\r\n")
	if up := <-seen; up != "u" {
		t.Errorf("up went %q", up)
	}
	if !strings.HasSuffix(got, "0\r\nX-Down: d\r\n\r\n") || !strings.Contains(got, "\r\nTrailer: X-Down\r\n") {
		t.Errorf("%q", got)
	}
}
