package http1_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http1/http1test"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// weAccept says why net/http refuses what we accept, by a part of its error.
// Any other such difference is an error of ours.
var weAccept = map[string]string{
	"invalid URL escape":        "9110 4.2.3: escapes are judged by message.NormalPath, which refuses bad ones in a path; a query travels as it is",
	`malformed HTTP request ""`: "9112 2.2: an empty line before a request; ReadRequest leaves it to the server",
}

// weRefuse says why we refuse what net/http accepts, by our reason. Any other
// such difference is an error of ours.
var weRefuse = map[http1.Reason]string{
	http1.BareLF:                   "9112 2.2: a recipient may take LF alone for a line end; design 4: it may not",
	http1.ObsFold:                  "9112 5.2: must be refused or unfolded",
	http1.BadRequestLine:           "9112 3: CONNECT without a target",
	http1.BadMethod:                "9112 2.2: more than one empty line before a request",
	http1.BadTarget:                "9112 3.2: target forms by method",
	http1.BadTargetByte:            "3986 2: bytes that a URI does not have",
	http1.TargetFragment:           "9110 7.1: a target has no fragment",
	http1.TargetUserinfo:           "9110 4.2.4",
	http1.SpaceBeforeColon:         "9112 5.1: ReadRequest leaves names to the server",
	http1.BadFieldName:             "9110 5.1: ReadRequest leaves names to the server",
	http1.UnsupportedVersion:       "9110 15.6.6: ReadRequest leaves the version to the server",
	http1.MissingHost:              "9112 3.2: ReadRequest leaves Host to the server",
	http1.RepeatedHost:             "9112 3.2",
	http1.BadHost:                  "9110 7.2: ReadRequest leaves Host to the server",
	http1.HostMismatch:             "9112 3.2.2: design 2",
	http1.RepeatedContentLength:    "9112 6.3: equal values may be taken for one; design 4: they may not",
	http1.LengthAndEncoding:        "9112 6.1: ought to be handled as an error",
	http1.EncodingIn10:             "9112 6.1: faulty framing",
	http1.RepeatedTransferEncoding: "9112 6.1",
	http1.UnexpectedBody:           "9110 9.3.6, 9.3.8",
	http1.UnknownExpectation:       "9110 10.1.1: ReadRequest leaves it to the server",
	http1.BadChunkSize:             "9112 7.1: white space around a size",
	http1.ChunkTooLarge:            "9112 7.1: leading zeros beyond sixteen digits",
	http1.BadChunkExtension:        "9112 7.1.1",
	http1.ChunkExtensionTooLarge:   "9112 7.1.1: net/http bounds the sum only",
	http1.ForbiddenTrailer:         "9110 6.5.1: net/http drops some of them",
	http1.TrailerTooLarge:          "9110 5.4",
	http1.TooManyFields:            "9110 5.4: ReadRequest leaves limits to the server",
	http1.HeadTooLarge:             "9110 5.4: ReadRequest leaves limits to the server",
	http1.RequestLineTooLong:       "9112 3: ReadRequest leaves limits to the server",
}

// verdict is what a reader made of the first request of an input.
type verdict struct {
	line, body string
	fields     map[string][]string
	err        string // of net/http
	reason     http1.Reason
}

func (v *verdict) accepted() bool { return v.err == "" && v.reason == http1.NoReason }

// theirs reads the first request as net/http does.
func theirs(input []byte) (v verdict) {
	req, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(input), 4096))
	if err != nil {
		return verdict{err: err.Error()}
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return verdict{err: err.Error()}
	}
	v.line, v.body, v.fields = req.Method+" "+req.RequestURI, string(body), req.Header
	return v
}

// ours reads the first request with a Reader.
func ours(t testing.TB, input []byte) (v verdict) {
	tr := play(t, http1.Server, 0, input, http1.Limits{}, len(input)+1)
	if len(tr.messages) == 0 {
		v.reason = tr.reason
		if v.reason == http1.NoReason {
			v.reason = http1.TruncatedHead // nothing there
		}
		return v
	}
	v.line, v.body = tr.messages[0].Line, tr.messages[0].Body
	v.fields = map[string][]string{}
	var r http1.Reader
	var h message.Head
	r.Init(http1.Server, http1.Limits{})
	r.Next(input, &h)
	for _, f := range h.Fields {
		switch f.ID {
		case message.FieldHost, message.FieldTransferEncoding, message.FieldTrailer: // net/http moves these
		default:
			key := textproto.CanonicalMIMEHeaderKey(string(h.Bytes(f.Name)))
			v.fields[key] = append(v.fields[key], string(h.Bytes(f.Value)))
		}
	}
	return v
}

// compare fails the test for a difference that is not listed. It tells whether
// we accept the first request of input, and the section of a listed difference.
func compare(t *testing.T, input []byte) (accepted bool, listed string) {
	t.Helper()
	us, them := ours(t, input), theirs(input)
	switch {
	case us.accepted() && them.accepted():
		if us.line != them.line || us.body != them.body {
			t.Errorf("%q: we read %q %q, net/http %q %q", input, us.line, us.body, them.line, them.body)
		}
		for key, values := range us.fields {
			if !slices.Equal(values, them.fields[key]) {
				t.Errorf("%q: %s: we read %q, net/http %q", input, key, values, them.fields[key])
			}
		}
		for key, values := range them.fields {
			if len(us.fields[key]) != len(values) && key != "Pragma" && key != "Cache-Control" {
				t.Errorf("%q: %s: net/http reads %q, we nothing", input, key, values)
			}
		}
	case us.accepted():
		for part, section := range weAccept {
			if strings.Contains(them.err, part) {
				return true, "we accept: " + section
			}
		}
		t.Errorf("%q: net/http refuses: %s; we accept", input, them.err)
	case them.accepted():
		if weRefuse[us.reason] == "" {
			t.Errorf("%q: net/http accepts; we refuse for %v", input, us.reason)
		}
		return false, fmt.Sprintf("we refuse for %v: %s", us.reason, weRefuse[us.reason])
	}
	return us.accepted(), ""
}

// TestEveryCaseIsReadAsNetHTTPReadsIt compares the requests of the table with net/http:
// accepted by both, or a difference that is listed above with its section.
func TestEveryCaseIsReadAsNetHTTPReadsIt(t *testing.T) {
	for _, c := range http1test.Cases() {
		if c.Role == http1.Server {
			compare(t, []byte(c.Input))
		}
	}
}

// TestGeneratedRequestsAreReadAsNetHTTPReadsThem compares generated requests with net/http, as many as
// DIFFERENTIAL says, and tells how often each listed difference was met.
func TestGeneratedRequestsAreReadAsNetHTTPReadsThem(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(2, 9112))}
	var accepted int
	listed := map[string]int{}
	requests := 100_000
	if text := os.Getenv("DIFFERENTIAL"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			t.Fatalf("DIFFERENTIAL=%q: expected a number of requests", text)
		}
		requests = n
	}
	for range requests {
		input := g.request()
		ok, section := compare(t, input)
		if ok {
			accepted++
		}
		if section != "" {
			listed[section]++
		}
		if t.Failed() {
			return
		}
	}
	if accepted < requests/10 {
		t.Errorf("only %d of %d generated requests were accepted", accepted, requests)
	}
	t.Logf("%d of %d accepted", accepted, requests)
	for _, section := range slices.Sorted(maps.Keys(listed)) {
		t.Logf("%6d %s", listed[section], section)
	}
}

// generator makes requests that are mostly right.
type generator struct{ *rand.Rand }

func (g generator) pick(usual string, others ...string) string {
	if g.IntN(12) > 0 {
		return usual
	}
	return others[g.IntN(len(others))]
}

func (g generator) request() []byte {
	var b strings.Builder
	eol := func() { b.WriteString(g.pick2("\r\n", "\n", "\r", "\r\r\n", "\r\n ")) }
	b.WriteString(g.pick("", "\r\n", "\r\n\r\n", " ", "\n"))
	b.WriteString(g.pick([]string{"GET", "POST", "PUT"}[g.IntN(3)], "HEAD", "OPTIONS", "CONNECT", "TRACE", "get", "G(T", "X-Y", ""))
	b.WriteString(g.pick(" ", "  ", "\t"))
	b.WriteString(g.pick([]string{"/", "/a/b?c=d", "/%7ea/../b", "http://a.test/x"}[g.IntN(4)],
		"*", "a.test:80", "//a", "/a b", "/a#b", "/\x7f", "/caf\xc3\xa9", "/%zz", "?q", "http://b.test/", "http://u@a.test/", "ftp://a.test/", "/a?%zz", "/|{}", ""))
	b.WriteString(g.pick(" HTTP/1.1", " HTTP/1.0", " HTTP/1.2", " HTTP/2.0", " HTTP/1.1 ", " http/1.1", "", " HTTP/11"))
	eol()
	b.WriteString(g.pick("Host: a.test", "Host:a.test", "Host : a.test", "Host: a.test\r\nHost: a.test", "Host:", "Host: a b", "Host: a.test:80", "X: y"))
	eol()
	body := "hello"
	switch g.IntN(4) {
	case 0:
		b.WriteString(g.pick("Content-Length: 5", "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5, 5", "Content-Length: +5",
			"Content-Length: 05", "Content-Length: 6", "Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length:", "Content-Length: 4", "Content-Length: 99999999999999999999"))
		eol()
	case 1:
		b.WriteString(g.pick("Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "transfer-encoding:Chunked", "Transfer-Encoding: chunked, chunked",
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding:\tchunked ", "Transfer-Encoding: identity", "Transfer-Encoding: \vchunked"))
		eol()
		size := g.pick("5", "05", "5;a", "5;a=\"b\"", " 5", "5 ", "0x5", "5; a", "6", "4", "", "00000000000000005")
		body = size + g.pick2("\r\n", "\n") + "hello" + g.pick2("\r\n", "\n", "") + g.pick("0\r\n\r\n", "0\r\nA: b\r\n\r\n", "0\r\n", "00\r\n\r\n", "0\r\nHost: b\r\n\r\n", "0\n\n")
	}
	for range g.IntN(4) {
		b.WriteString(g.pick([]string{"A: b", "X-Long: " + strings.Repeat("v", g.IntN(40)), "Cookie: a=b; c=d"}[g.IntN(3)],
			"A:", "A: \t b \t", "A : b", " A: b", ": b", "A b: c", "A", "A: b\x00", "A: caf\xe9", "A: b\x7f", "A\x00: b", "\xe9: b",
			"Expect: 100-continue", "Expect: x", "Connection: close", "Connection: keep-alive"))
		eol()
	}
	b.WriteString("\r\n")
	b.WriteString(body)
	return []byte(b.String())
}

// pick2 is pick for what would otherwise be wrong in every request.
func (g generator) pick2(usual string, others ...string) string {
	if g.IntN(6) > 0 {
		return usual
	}
	return g.pick(usual, others...)
}
