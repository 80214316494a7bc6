package http2_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// driver runs a Conn over a net.Conn: one goroutine reads, one writes, a mutex
// guards the rest. Bodies wait in memory until the peer's windows take them.
type driver struct {
	mu   sync.Mutex
	conn http2.Conn
	wire net.Conn
	out  []byte
	more chan struct{} // out has bytes
	done chan struct{}

	streams map[uint32]*dialog
	event   func(d *driver, s *dialog, ev http2.Event, h *message.Head)
	failed  http2.Reason
}

// dialog is one stream of a driver.
type dialog struct {
	id       uint32
	method   string
	path     string
	status   int
	body     bytes.Buffer // received
	trailers string
	waiting  []byte // to be sent
	fields   []message.OutField
	closing  bool // trailers follow what waits
	over     chan struct{}
	code     http2.Code
	reset    bool
}

func newDriver(role http2.Role, o http2.Options, wire net.Conn, event func(*driver, *dialog, http2.Event, *message.Head)) *driver {
	d := &driver{wire: wire, more: make(chan struct{}, 1), done: make(chan struct{}), streams: map[uint32]*dialog{}, event: event}
	d.conn.Init(role, o)
	d.out = d.conn.AppendPreface(nil)
	return d
}

// run reads until the connection ends.
func (d *driver) run() {
	defer close(d.done)
	go d.write()
	d.flush()
	buf, in := make([]byte, 32<<10), []byte(nil)
	var head message.Head
	for {
		n, err := d.wire.Read(buf)
		in = append(in, buf[:n]...)
		d.mu.Lock()
		for {
			var ev http2.Event
			ev, d.out = d.conn.Next(1, in, &head, d.out)
			if ev.Kind == http2.NeedMore || ev.Kind == http2.Failed {
				d.failed = ev.Reason
				break
			}
			d.see(ev, in, &head)
			in = in[ev.N:]
		}
		failed := d.failed
		d.mu.Unlock()
		d.flush()
		if err != nil || failed != http2.NoReason {
			d.wire.Close()
			return
		}
	}
}

func (d *driver) see(ev http2.Event, in []byte, h *message.Head) {
	s := d.streams[ev.Stream]
	switch ev.Kind {
	case http2.Head:
		if s == nil {
			s = d.begin(ev.Stream)
			s.method, s.path = string(h.Bytes(h.MethodName)), string(h.Bytes(h.Target))
		}
		s.status = int(h.Status)
	case http2.Data:
		s.body.Write(in[ev.Start:ev.End])
		d.out = d.conn.AppendConsumed(d.out, ev.Stream, ev.End-ev.Start)
	case http2.End:
		if ev.Trailers {
			s.trailers = fields(h)
		}
		defer close(s.over)
	case http2.Reset:
		s.code, s.reset = ev.Code, true
		select {
		case <-s.over:
		default:
			close(s.over)
		}
	case http2.Writable, http2.Settings:
		for _, s := range d.streams {
			d.pump(s)
		}
	}
	if d.event != nil && s != nil {
		d.event(d, s, ev, h)
	}
}

func (d *driver) begin(id uint32) *dialog {
	s := &dialog{id: id, over: make(chan struct{})}
	d.streams[id] = s
	return s
}

// pump sends what the windows take.
func (d *driver) pump(s *dialog) {
	var n int
	d.out, n = d.conn.AppendData(d.out, s.id, s.waiting, false)
	s.waiting = s.waiting[n:]
	if len(s.waiting) == 0 && s.closing {
		s.closing = false
		d.out = d.conn.AppendTrailers(d.out, s.id, s.fields)
	}
}

// flush has what was queued written.
func (d *driver) flush() {
	select {
	case d.more <- struct{}{}:
	default:
	}
}

// write writes until the connection ends.
func (d *driver) write() {
	for {
		select {
		case <-d.done:
			return
		case <-d.more:
		}
		d.mu.Lock()
		out := d.out
		d.out = nil
		d.mu.Unlock()
		if len(out) > 0 {
			_, _ = d.wire.Write(out)
		}
	}
}

// listen opens a listening socket on the loopback.
func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// cleartext is HTTP/2 with prior knowledge.
func cleartext() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// TestGoClientTalksToOurServer has Go's client send many requests at once, with
// bodies beyond every window, and read answers as large, with trailers.
func TestGoClientTalksToOurServer(t *testing.T) {
	listener := listen(t)
	accepted := make(chan *driver, 100)
	go func() {
		defer close(accepted)
		for {
			wire, err := listener.Accept()
			if err != nil {
				return
			}
			d := newDriver(http2.Server, http2.Options{}, wire, echo)
			go d.run()
			accepted <- d
		}
	}()
	transport := &http.Transport{Protocols: cleartext()}
	// Go's client waits for itself for ever when it has begun more requests than
	// the server takes before that says so.
	slots := make(chan struct{}, http2.DefaultStreams*9/10)
	var wg sync.WaitGroup
	for i := range 150 {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			sent := bytes.Repeat([]byte{byte(i)}, i*i*20)
			req, _ := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%s/%d?q", listener.Addr(), i), bytes.NewReader(sent))
			if i%2 == 0 {
				req.ContentLength = -1
			}
			req.Header.Set("X-Large", strings.Repeat("x", i*200))
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Errorf("request %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("request %d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
			if p := resp.Header.Get("X-Path"); p != fmt.Sprintf("/%d?q", i) {
				t.Errorf("request %d: path %q", i, p)
			}
			if sum := resp.Trailer.Get("X-Sum"); sum != strconv.Itoa(len(sent)) {
				t.Errorf("request %d: trailer %q", i, sum)
			}
		}()
	}
	wg.Wait()
	transport.CloseIdleConnections()
	listener.Close()
	for d := range accepted {
		<-d.done
		if n := d.conn.Streams(); n != 0 || d.failed != http2.NoReason {
			t.Errorf("%d streams are left, failed %v", n, d.failed)
		}
	}
}

// echo answers a request with its body, and its length behind.
func echo(d *driver, s *dialog, ev http2.Event, _ *message.Head) {
	if ev.Kind != http2.End {
		return
	}
	o := message.Out{Status: 200}
	o.Add([]byte("X-Path"), []byte(s.path))
	o.Add([]byte("Trailer"), []byte("X-Sum"))
	d.out = d.conn.AppendResponse(d.out, s.id, &o, false)
	s.waiting = bytes.Clone(s.body.Bytes())
	s.fields = []message.OutField{{Name: []byte("X-Sum"), Value: fmt.Append(nil, s.body.Len())}}
	s.closing = true
	d.pump(s)
}

// TestOurClientTalksToGoServer is the other way around, with answers that Go
// makes: interim ones, HEAD, none of a body, a reset, trailers.
func TestOurClientTalksToGoServer(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("Trailer", "X-Sum")
			w.WriteHeader(http.StatusEarlyHints)
			n, _ := io.Copy(w, r.Body)
			w.Header().Set("X-Sum", strconv.FormatInt(n, 10))
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		case "/abort":
			_, _ = w.Write(make([]byte, 100_000))
			panic(http.ErrAbortHandler)
		default:
			_, _ = w.Write(make([]byte, 12345))
		}
	})
	listener := listen(t)
	server := &http.Server{Handler: handler, Protocols: cleartext(), ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	a, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client := newDriver(http2.Client, http2.Options{StreamWindow: 20_000}, a, nil)
	go client.run()

	ask := func(method, path string, body []byte) *dialog {
		for {
			client.mu.Lock()
			o := message.Out{Method: []byte(method), Target: []byte(path), Authority: []byte("a.test")}
			var id uint32
			var ok bool
			client.out, id, ok = client.conn.AppendRequest(client.out, &o, body == nil, 0)
			var s *dialog
			if ok {
				s = client.begin(id)
				s.waiting, s.closing = body, body != nil
				client.pump(s)
			}
			client.mu.Unlock()
			client.flush()
			if ok {
				return s
			}
		}
	}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			body := bytes.Repeat([]byte{byte(i)}, i*i*60)
			s := ask("POST", "/echo", body)
			<-s.over
			if s.status != 200 || !bytes.Equal(s.body.Bytes(), body) || s.trailers != fmt.Sprintf(" x-sum=%q", strconv.Itoa(len(body))) {
				t.Errorf("echo %d: %d, %d bytes of %d, trailers %s", i, s.status, s.body.Len(), len(body), s.trailers)
			}
		}()
	}
	wg.Wait()
	for _, c := range []struct {
		method, path string
		status, size int
		reset        bool
	}{
		{"GET", "/", 200, 12345, false},
		{"HEAD", "/", 200, 0, false},
		{"GET", "/empty", 204, 0, false},
		{"GET", "/abort", 200, -1, true},
		{"GET", "/", 200, 12345, false},
	} {
		s := ask(c.method, c.path, nil)
		<-s.over
		if s.status != c.status || s.reset != c.reset || c.size >= 0 && s.body.Len() != c.size {
			t.Errorf("%s %s: %d, %d bytes, reset %v (%v)", c.method, c.path, s.status, s.body.Len(), s.reset, s.code)
		}
	}
	client.mu.Lock()
	if n := client.conn.Streams(); n != 0 || client.failed != http2.NoReason {
		t.Errorf("%d streams are left, failed %v", n, client.failed)
	}
	client.mu.Unlock()
	a.Close()
	<-client.done
	server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
