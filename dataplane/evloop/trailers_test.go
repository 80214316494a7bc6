//go:build linux

package evloop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// onWire is a field block, in HTTP/2.
func onWire(lines ...string) []byte {
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	for _, line := range lines {
		name, value, _ := strings.Cut(line[1:], ": ")
		_ = e.WriteField(hpack.HeaderField{Name: line[:1] + name, Value: value})
	}
	return []byte(block.String())
}

// message2 writes a message of HTTP/2 with a body and trailers.
func message2(f *xhttp2.Framer, id uint32, trailers []string, head ...string) {
	_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: onWire(head...), EndHeaders: true})
	_ = f.WriteData(id, false, []byte("body"))
	_ = f.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: onWire(trailers...), EndStream: true, EndHeaders: true})
}

// trailers2 reads frames up to the trailers of a message, or to what stands there in
// their place.
func trailers2(f *xhttp2.Framer) (lines []string, id uint32) {
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return []string{err.Error()}, 0
		}
		switch frame := frame.(type) {
		case *xhttp2.SettingsFrame:
			if !frame.IsAck() {
				_ = f.WriteSettingsAck()
			}
		case *xhttp2.RSTStreamFrame:
			return []string{frame.ErrCode.String()}, frame.StreamID
		case *xhttp2.MetaHeadersFrame:
			if frame.StreamEnded() {
				for _, field := range frame.Fields {
					lines = append(lines, field.Name+": "+field.Value)
				}
				return lines, frame.StreamID
			}
		}
	}
}

// message1 is the end of a head of HTTP/1.1, with a body and trailers.
func message1(trailers []string) string {
	return "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n" + strings.Join(trailers, "\r\n") + "\r\n\r\n"
}

// trailers1 reads a message of HTTP/1.1 up to the end of its trailers, or of the
// connection.
func trailers1(c net.Conn) []string {
	var all []byte
	one := make([]byte, 1)
	for {
		if _, err := c.Read(one); err != nil {
			return []string{err.Error()}
		}
		all = append(all, one...)
		_, lines, ok := strings.Cut(string(all), "\r\n0\r\n")
		if ok && (lines == "\r\n" || strings.HasSuffix(lines, "\r\n\r\n")) {
			return strings.Split(strings.ToLower(strings.TrimSpace(lines)), "\r\n")
		}
	}
}

// trailing are what a client and an endpoint say in trailers, and hear.
type trailing struct {
	t        *testing.T
	n        *node
	up, down []string // sent
}

// endpoint answers each request with a body and trailers, in the version that it
// speaks; wentUp gets what it heard.
func (x *trailing) endpoint(version int, wentUp chan<- []string) *table.Upstream {
	answer := x.down
	if version == 1 {
		return newUpstream("u", rawServer(x.t, func(c net.Conn) {
			wentUp <- trailers1(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n"+message1(answer))
		}))
	}
	u := newUpstream("u", rawServer(x.t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, len(http2.Preface)))
		f := xhttp2.NewFramer(c, c)
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = f.WriteSettings()
		for {
			lines, id := trailers2(f)
			wentUp <- lines
			if id == 0 {
				return
			}
			message2(f, id, answer, ":status: 200")
		}
	}))
	u.HTTP2 = true
	return u
}

// exchange has a client send a request in one version to an endpoint of another, and
// returns the trailers that each of them got.
func (x *trailing) exchange(client, endpoint int) (up, down []string) {
	x.t.Helper()
	wentUp := make(chan []string, 4) // of the exchange, and the end of its connection
	x.n.apply(nil, forwardAll(x.endpoint(endpoint, wentUp)))
	if client == 1 {
		c := x.n.dial()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n%s", message1(x.up))
		down = trailers1(c)
	} else {
		c, f := x.n.framesTo()
		f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		message2(f, 1, x.up, ":method: POST", ":scheme: http", ":path: /", ":authority: a", "te: trailers")
		down, _ = trailers2(f)
	}
	select {
	case up = <-wentUp:
	case <-time.After(10 * time.Second):
		x.t.Fatalf("HTTP/%d to HTTP/%d: nothing went up", client, endpoint)
	}
	slices.Sort(up)
	slices.Sort(down)
	return up, down
}

// inEveryPair calls f for each pair of versions that a client and an endpoint speak.
func inEveryPair(f func(client, endpoint int)) {
	for _, client := range []int{1, 2} {
		for _, endpoint := range []int{1, 2} {
			f(client, endpoint)
		}
	}
}

// TestTheSameTrailersPassInEveryPairOfVersions and in both directions: those of gRPC,
// and those that nobody knows. None passes that authenticates, directs, or says what
// the content is, as that is a head's to say (RFC 9110 section 6.5.1).
func TestTheSameTrailersPassInEveryPairOfVersions(t *testing.T) {
	passing := []string{"grpc-message: fine", "grpc-status: 0", "x-kept: yes"}
	heads := []string{
		"authorization: Basic eDp5", "proxy-authorization: Basic eDp5", "cookie: a=1", "set-cookie: a=1",
		"cache-control: no-store", "range: bytes=0-1", "content-type: x/y", "content-encoding: gzip",
	}
	sent := append(slices.Clone(heads), passing...)
	x := &trailing{
		t: t, n: startNode(t, 1), down: sent,
		up: append([]string{"x-forwarded-for: 192.0.2.1", "forwarded: for=192.0.2.1", "client-cert: :eDp5:"}, sent...),
	}
	inEveryPair(func(client, endpoint int) {
		up, down := x.exchange(client, endpoint)
		if !slices.Equal(up, passing) {
			t.Errorf("HTTP/%d to HTTP/%d: went up: %q", client, endpoint, up)
		}
		if !slices.Equal(down, passing) {
			t.Errorf("HTTP/%d to HTTP/%d: came down: %q", client, endpoint, down)
		}
	})
}

// TestAMessageWhoseTrailersFrameOrRouteIsRefusedInEveryPairOfVersions, whoever sends
// it: whom it is for is not told that it is whole.
func TestAMessageWhoseTrailersFrameOrRouteIsRefusedInEveryPairOfVersions(t *testing.T) {
	x := &trailing{t: t, n: startNode(t, 1)}
	harmless := []string{"x-kept: yes"}
	for _, line := range []string{"content-length: 4", "host: b", "transfer-encoding: chunked", "te: trailers"} {
		bad := []string{line, harmless[0]}
		inEveryPair(func(client, endpoint int) {
			x.up, x.down = bad, harmless
			if up, down := x.exchange(client, endpoint); slices.Contains(up, harmless[0]) || slices.Contains(down, harmless[0]) {
				t.Errorf("HTTP/%d to HTTP/%d: %q was taken: %q went up, %q came down", client, endpoint, line, up, down)
			}
			x.up, x.down = harmless, bad
			if up, down := x.exchange(client, endpoint); !slices.Equal(up, harmless) || slices.Contains(down, harmless[0]) {
				t.Errorf("HTTP/%d from HTTP/%d: %q was taken: %q went up, %q came down", client, endpoint, line, up, down)
			}
		})
	}
}

// TestTheMemoryOfLargeTrailersIsNotKept by what carried them, which is used again.
func TestTheMemoryOfLargeTrailersIsNotKept(t *testing.T) {
	n := startNode(t, 1)
	large := strings.Repeat("a", 4*maxArena)
	u, _ := h2backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Large")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("X-Large", large)
	})
	n.apply(nil, forwardAll(u))
	req, _ := http.NewRequest(http.MethodPost, "http://"+n.address+"/", io.MultiReader(strings.NewReader("body")))
	req.Trailer = http.Header{"X-Large": {large}}
	resp, err := h2client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.Body.Close(); resp.Trailer.Get("X-Large") != large {
		t.Fatalf("%d: %d bytes came back, %v", resp.StatusCode, len(resp.Trailer.Get("X-Large")), resp.Header)
	}
	n.records.wait(t, 1)
	n.stop()
	l := n.engine.loops[0]
	if len(l.old.subs.free) == 0 || len(l.old.calls.free) == 0 {
		t.Fatal("nothing was given back")
	}
	for _, b := range l.old.subs.free {
		if cap(b.lines) > maxArena || cap(b.trailers) > maxArena {
			t.Errorf("a sub keeps %d and %d bytes", cap(b.lines), cap(b.trailers))
		}
	}
	for _, b := range l.old.calls.free {
		if cap(b.lines) > maxArena || cap(b.trailers) > maxArena {
			t.Errorf("a call keeps %d and %d bytes", cap(b.lines), cap(b.trailers))
		}
	}
}
