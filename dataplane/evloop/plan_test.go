//go:build linux

package evloop

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// plan is an exchange that a client asks for and an endpoint carries out. It travels in
// the query.
type plan struct {
	id          int
	method      string
	up          int  // bytes of the request's body; -1: none
	upChunked   bool // its length is not declared
	upTrailers  bool
	interim     int
	status      int
	down        int // bytes of the answer's body
	framing     int // of the answer: 0 a length, 1 chunks, 2 until close, 3 until close in 1.0
	early       bool
	downTrailer bool
	closes      bool // the endpoint closes behind it
}

func (p *plan) query() string {
	return fmt.Sprintf("%d,%d,%d,%d,%d,%t,%t,%t,%d", p.id, p.interim, p.status, p.down, p.framing, p.early, p.downTrailer, p.closes, p.up)
}

func parsePlan(method, query string) (p plan) {
	f := strings.Split(query, ",")
	n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
	return plan{method: method, id: n(0), interim: n(1), status: n(2), down: n(3), framing: n(4), early: f[5] == "true", downTrailer: f[6] == "true", closes: f[7] == "true", up: n(8)}
}

// bodiless says that the answer has no body, whatever it declares.
func (p *plan) bodiless() bool { return p.method == "HEAD" || p.status == 204 || p.status == 304 }

func randomPlan(rnd *rand.Rand, id int) plan {
	sizes := []int{0, 1, 5, 100, 4095, 16384, 16385, 65536, 70000, 300000}
	p := plan{id: id, up: -1, status: []int{200, 200, 200, 201, 204, 205, 304, 404, 500, 302}[rnd.IntN(10)], interim: max(rnd.IntN(6)-3, 0)}
	p.method = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "FOO"}[rnd.IntN(8)]
	if p.method != "GET" && p.method != "HEAD" && rnd.IntN(3) > 0 {
		p.up = sizes[rnd.IntN(len(sizes))]
		p.upChunked = rnd.IntN(2) == 0
		p.upTrailers = p.upChunked && rnd.IntN(3) == 0
	}
	p.framing = rnd.IntN(4)
	p.down = sizes[rnd.IntN(len(sizes))]
	if p.status == 204 || p.status == 205 {
		p.down, p.framing = 0, 0
	}
	if p.early = rnd.IntN(4) == 0; p.early { // it is there before the node has waited long enough for its client
		p.down = min(p.down, 16385)
	}
	p.downTrailer = p.framing == 1 && !p.bodiless() && rnd.IntN(3) == 0
	p.closes = rnd.IntN(8) == 0
	return p
}

// bodyOf is the body of an exchange, in one direction.
func bodyOf(id, size int, up bool) []byte {
	if size <= 0 {
		return nil
	}
	word := fmt.Sprintf("<%d %t>", id, up)
	return []byte(strings.Repeat(word, size/len(word)+1)[:size])
}

// writeChunks writes a body in chunks of that size, and the last one.
func writeChunks(b *bytes.Buffer, body []byte, size int) {
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n")
}

// answer1 is the whole answer in HTTP/1.1.
func (p *plan) answer1(rnd *rand.Rand) []byte {
	var b bytes.Buffer
	for range p.interim {
		b.WriteString("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	}
	body := bodyOf(p.id, p.down, false)
	minor := 1
	if p.framing == 3 {
		minor = 0
	}
	fmt.Fprintf(&b, "HTTP/1.%d %d X\r\nX-Id: %d\r\n", minor, p.status, p.id)
	if p.closes {
		b.WriteString("Connection: close\r\n")
	}
	switch {
	case p.status == 204:
		b.WriteString("\r\n")
		return b.Bytes()
	case p.framing == 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", p.down)
	case p.framing == 1:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
	default:
		b.WriteString("\r\n")
	}
	if p.bodiless() {
		return b.Bytes()
	}
	if p.framing != 1 {
		b.Write(body)
		return b.Bytes()
	}
	writeChunks(&b, body, 1+rnd.IntN(20000))
	if p.downTrailer {
		fmt.Fprintf(&b, "X-Trailer: %d\r\n", p.id)
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// planner1 carries plans out in HTTP/1.1.
func planner1(t *testing.T, seed uint64) string { return rawServer(t, carryOut1(t, seed)) }

// carryOut1 is planner1 on one connection.
func carryOut1(t *testing.T, seed uint64) func(net.Conn) {
	return func(c net.Conn) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var r http1.Reader
		r.Init(http1.Server, http1.Limits{})
		var head message.Head
		var in, got []byte
		buf := make([]byte, 32<<10)
		var p plan
		send := func() bool {
			_, err := c.Write(p.answer1(rnd))
			if p.closes || p.framing >= 2 && !p.bodiless() {
				return false
			}
			return err == nil && p.framing != 3
		}
		for {
			ev := r.Next(in, &head)
			switch ev.Kind {
			case http1.NeedMore:
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				in = append(in, buf[:n]...)
				continue
			case http1.Head:
				p, got = parsePlan(string(head.Bytes(head.MethodName)), string(head.Bytes(head.Query))), nil
				if p.early && !send() {
					_ = c.(interface{ CloseWrite() error }).CloseWrite()
					_, _ = io.CopyN(io.Discard, c, 1<<20)
					return
				}
			case http1.Data:
				got = append(got, in[ev.Start:ev.End]...)
			case http1.End:
				if want := bodyOf(p.id, p.up, true); !bytes.Equal(got, want) {
					t.Errorf("plan %+v: %d bytes went up", p, len(got))
				}
				if !p.early && !send() {
					return
				}
			case http1.Failed:
				t.Errorf("the node sent %s", ev.Reason)
				return
			}
			in = in[ev.N:]
		}
	}
}

// planner2 carries plans out in HTTP/2.
func planner2(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := parsePlan(r.Method, r.URL.RawQuery)
		_ = http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("X-Id", strconv.Itoa(p.id))
		for range p.interim {
			w.WriteHeader(103)
		}
		read := func() {
			got, err := io.ReadAll(r.Body)
			if want := bodyOf(p.id, p.up, true); err == nil && !bytes.Equal(got, want) {
				t.Errorf("plan %+v: %d bytes went up", p, len(got))
			}
		}
		if !p.early {
			read()
		}
		if p.framing == 0 && p.status != 204 {
			w.Header().Set("Content-Length", strconv.Itoa(p.down))
		}
		if p.downTrailer {
			w.Header().Set("Trailer", "X-Trailer")
		}
		w.WriteHeader(p.status)
		if p.framing != 0 { // else a short body gets a length
			_ = http.NewResponseController(w).Flush()
		}
		if !p.bodiless() {
			_, _ = w.Write(bodyOf(p.id, p.down, false))
		}
		if p.early {
			_ = http.NewResponseController(w).Flush()
			if p.id%2 == 0 && p.status < 300 { // else Go's client sends no more
				read()
			}
		}
		if p.downTrailer {
			w.Header().Set("X-Trailer", strconv.Itoa(p.id))
		}
	}
}

// request1 is the request in HTTP/1.1.
func (p *plan) request1() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /?%s HTTP/1.1\r\nHost: a\r\n", p.method, p.query())
	body := bodyOf(p.id, p.up, true)
	switch {
	case p.up < 0:
		b.WriteString("\r\n")
	case p.upChunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		writeChunks(&b, body, 7000)
		if p.upTrailers {
			b.WriteString("X-Up: 1\r\n")
		}
		b.WriteString("\r\n")
	default:
		fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", p.up, body)
	}
	return b.Bytes()
}
