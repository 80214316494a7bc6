//go:build linux

package evloop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// tell answers with what it got, in fields, early hints before and trailers behind.
func tell(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/expect" { // behind early hints Go's HTTP/2 server sends no 100
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Trailer", "X-Sum")
	w.Header().Set("X-Cookie", strings.Join(r.Header["Cookie"], "|"))
	w.Header().Set("X-Te", strings.Join(r.Header["Te"], "|"))
	w.Header().Set("X-Hop", r.Header.Get("X-Hop")+r.Header.Get("Connection")+r.Header.Get("Keep-Alive"))
	w.Header().Set("X-Trailer", r.Trailer.Get("X-Client"))
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", "12345")
		return
	}
	_, _ = w.Write(body)
	_ = http.NewResponseController(w).Flush() // no declared length
	w.Header().Set("X-Sum", fmt.Sprint(len(body)))
}

// TestEveryPairOfVersionsSaysTheSame has clients and endpoints of both versions.
func TestEveryPairOfVersionsSaysTheSame(t *testing.T) {
	n := startNode(t, 1)
	second, _ := h2backend(t, tell)
	first := newUpstream("u", startBackend(t, tell))
	h1 := &http.Transport{ExpectContinueTimeout: 20 * time.Second}
	defer h1.CloseIdleConnections()
	h2 := h2client(t).Transport.(*http.Transport)
	h2.ExpectContinueTimeout = 20 * time.Second
	for name, u := range map[string]*table.Upstream{"HTTP/1.1": first, "HTTP/2": second} {
		n.apply(nil, forwardAll(u))
		for version, client := range map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2": h2} {
			t.Run(version+" to "+name, func(t *testing.T) {
				var mu sync.Mutex
				var interim []int
				trace := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
						mu.Lock()
						defer mu.Unlock()
						if interim = append(interim, code); code == 103 && h.Get("Link") == "" {
							t.Errorf("early hints without a link: %v", h)
						}
						return nil
					},
				})
				body := bytes.Repeat([]byte("x"), 100_000)
				req, _ := http.NewRequestWithContext(trace, http.MethodPost, "http://"+n.address+"/", io.MultiReader(bytes.NewReader(body)))
				req.Header = http.Header{"Cookie": {"a=1; b=2"}, "Te": {"trailers"}}
				if version == "HTTP/1.1" {
					req.Header["Connection"], req.Header["X-Hop"], req.Header["Keep-Alive"] = []string{"x-hop, te"}, []string{"1"}, []string{"timeout=5"}
				}
				req.Trailer = http.Header{"X-Client": {"behind"}}
				resp, err := client.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, body) || resp.Trailer.Get("X-Sum") != "100000" {
					t.Errorf("%d bytes, %v, trailers %v", len(got), err, resp.Trailer)
				}
				h := resp.Header
				// Go's HTTP/2 server shows no trailers that no Trailer field announced.
				if h.Get("X-Cookie") != "a=1; b=2" || h.Get("X-Trailer") != "behind" || h.Get("X-Hop") != "" || len(h["Set-Cookie"]) != 2 {
					t.Errorf("%v", h)
				}
				if want := map[string]string{"HTTP/1.1": "", "HTTP/2": "trailers"}[name]; h.Get("X-Te") != want {
					t.Errorf("TE %q, want %q", h.Get("X-Te"), want)
				}
				mu.Lock()
				if !strings.Contains(fmt.Sprint(interim), "103") {
					t.Errorf("interim answers %v", interim)
				}
				mu.Unlock()
				continued := false
				trace = httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { continued = true }})
				req, _ = http.NewRequestWithContext(trace, http.MethodPost, "http://"+n.address+"/expect", bytes.NewReader(body))
				req.Header.Set("Expect", "100-continue")
				if resp, err = client.RoundTrip(req); err != nil {
					t.Fatal(err)
				}
				if got, err = io.ReadAll(resp.Body); err != nil || len(got) != len(body) || !continued {
					t.Errorf("Expect: %d bytes, %v, continued: %v", len(got), err, continued)
				}
				resp.Body.Close()
				req, _ = http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+n.address+"/", nil)
				if resp, err = client.RoundTrip(req); err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != 200 || resp.ContentLength != 12345 {
					t.Errorf("HEAD: %d, length %d", resp.StatusCode, resp.ContentLength)
				}
			})
		}
	}
}

// goAwayServer takes requests of HTTP/2 until there are two, then leaves: it says
// that it took the first only, answers that, and closes. Later connections are
// served.
func goAwayServer(t *testing.T) *table.Upstream {
	t.Helper()
	var once sync.Once
	left := make(chan struct{})
	u := newUpstream("u", rawServer(t, func(c net.Conn) {
		leaves := false
		once.Do(func() { leaves = true })
		var conn http2.Conn
		var head message.Head
		conn.Init(http2.Server, http2.Options{})
		in, out, took := []byte(nil), conn.AppendPreface(nil), []uint32(nil)
		b := make([]byte, 32<<10)
		answer := func(id uint32) {
			o := message.Out{Status: 200, Framing: message.FramingLength, Length: 4}
			out = conn.AppendResponse(out, id, &o, false)
			out, _ = conn.AppendData(out, id, []byte("fine"), true)
		}
		for {
			var ev http2.Event
			ev, out = conn.Next(time.Now().UnixNano(), in, &head, out)
			in = in[ev.N:]
			switch ev.Kind {
			case http2.Failed:
				return
			case http2.End:
				switch took = append(took, ev.Stream); {
				case !leaves:
					answer(ev.Stream)
				case len(took) == 2:
					out = append(out, 0, 0, 8, 7, 0, 0, 0, 0, 0)
					out = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(out, took[0]), 0)
					answer(took[0])
					close(left)
				}
			case http2.NeedMore:
				if _, err := c.Write(out); err != nil {
					return
				}
				out = out[:0]
				n, err := c.Read(b)
				if err != nil {
					return
				}
				in = append(in, b[:n]...)
			}
		}
	}))
	u.HTTP2 = true
	return u
}

// TestWhatAnEndpointDidNotTakeBeforeItLeftIsTriedAgain whatever the method is: it
// has said that it did nothing for it (RFC 9113 section 6.8).
func TestWhatAnEndpointDidNotTakeBeforeItLeftIsTriedAgain(t *testing.T) {
	n := startNode(t, 1)
	n.apply(nil, forwardAll(goAwayServer(t)))
	client := h2client(t)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			resp, err := client.Post("http://"+n.address+"/", "x/y", strings.NewReader("once"))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "fine" {
				t.Errorf("%d %q, %v", resp.StatusCode, body, err)
			}
		})
	}
	both.Wait()
	if a, b := n.records.wait(t, 1).Attempts, n.records.wait(t, 2).Attempts; a+b != 3 {
		t.Errorf("%d and %d attempts", a, b)
	}
}

// TestAWebSocketOverTLSHasPingsAndCloseCodes of both sides.
func TestAWebSocketOverTLSHasPingsAndCloseCodes(t *testing.T) {
	n := startTLS(t, 1)
	closed := make(chan websocket.StatusCode, 1)
	n.serve(nil, tunnels(newUpstream("u", startBackend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		c.SetReadLimit(-1)
		if r.URL.Path == "/bye" {
			_ = c.Close(4321, "go away")
			return
		}
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil {
				closed <- websocket.CloseStatus(err)
				return
			}
			if err := c.Write(r.Context(), kind, message); err != nil {
				return
			}
		}
	}))))
	transport := &http.Transport{TLSClientConfig: n.config()}
	defer transport.CloseIdleConnections()
	dial := func(path string) *websocket.Conn {
		c, resp, err := websocket.Dial(t.Context(), "wss://"+n.address+path, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
		if err != nil {
			t.Fatalf("%v %v", resp, err)
		}
		c.SetReadLimit(-1)
		t.Cleanup(func() { _ = c.CloseNow() })
		return c
	}
	c := dial("/chat")
	exchangeMessage(t, c, make([]byte, 4<<20))
	ctx, stop := context.WithCancel(t.Context())
	reading := make(chan struct{})
	go func() { // pings are answered while somebody reads
		defer close(reading)
		_, _, _ = c.Read(ctx)
	}()
	for range 3 {
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := c.Close(4000, "enough"); err != nil {
		t.Error(err)
	}
	if code := <-closed; code != 4000 {
		t.Errorf("the endpoint heard %d", code)
	}
	<-reading
	stop()
	if _, _, err := dial("/bye").Read(t.Context()); websocket.CloseStatus(err) != 4321 {
		t.Errorf("the client heard %v", err)
	}
}

// TestAnErrorAfterAnHTTP2EndpointEndsItsStream: the call that failed is still there
// when the node answers by itself.
func TestAnErrorAfterAnHTTP2EndpointEndsItsStream(t *testing.T) {
	n := startNode(t, 1)
	u, _ := h2backend(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	n.apply(nil, forwardAll(u))
	resp, err := h2client(t).Get("http://" + n.address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 502 || len(body) == 0 {
		t.Errorf("%d %q, %v", resp.StatusCode, body, err)
	}
}

// TestAnHTTP2EndpointHearsThatItsClientTakesTrailers wherever in TE that stands: gRPC's servers ask for it.
func TestAnHTTP2EndpointHearsThatItsClientTakesTrailers(t *testing.T) {
	n := startNode(t, 1)
	u, _ := h2backend(t, tell)
	n.apply(nil, forwardAll(u))
	for te, want := range map[string]string{
		"TE: trailers\r\n":                       "trailers",
		"TE: trailers, gzip;q=0.5\r\n":           "trailers",
		"TE: deflate;q=0.5 ,\tTrailers\r\n":      "trailers",
		"TE: gzip\r\nTE: trailers\r\n":           "trailers",
		"TE: gzip;q=0.5\r\n":                     "",
		"TE: xtrailers, trailers2;q=1\r\n":       "",
		"":                                       "",
		"TE: trailers\r\nConnection: close\r\n":  "trailers",
		"TE: , ,trailers,\r\nConnection: TE\r\n": "trailers",
	} {
		c := n.dial()
		fmt.Fprintf(c, "GET /expect HTTP/1.1\r\nHost: a\r\n%s\r\n", te)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("X-Te"); got != want {
			t.Errorf("%q: %q", te, got)
		}
	}
}
