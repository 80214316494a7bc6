package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/api"
)

const (
	// DefaultTimeout bounds one request, its answer included. The server's own
	// bound is below it, so that its reason is heard.
	DefaultTimeout = time.Minute
	// dialTimeout bounds how long a machine that is off keeps a user waiting.
	dialTimeout = 5 * time.Second
	// maxAnswer bounds one answer: eight times the largest body that a server takes.
	maxAnswer = 8 * api.MaxBody
	// maxUnexpected bounds what is shown of an answer that is not understood.
	maxUnexpected = 300
)

// ErrNoServer says that nobody answered at the server's address.
var ErrNoServer = errors.New("no control plane answers")

// noServerError carries the address and why there was no answer.
type noServerError struct {
	server string
	write  bool
	cause  error
}

func (e *noServerError) Error() string {
	s := "server " + e.server + ": " + ErrNoServer.Error() + ": " + e.cause.Error()
	if e.write && !neverSent(e.cause) {
		s += "; whether the change was made is not known"
	}
	return s
}

func (e *noServerError) Is(target error) bool { return target == ErrNoServer }
func (e *noServerError) Unwrap() error        { return e.cause }

// UnexpectedError is an answer that a control plane does not give.
type UnexpectedError struct {
	Request string // "GET http://…"
	Status  int
	Text    string // the beginning of the answer, or what is wrong with it
}

func (e *UnexpectedError) Error() string {
	s := fmt.Sprintf("%s: answer %d is not one of a proxyfleet control plane", e.Request, e.Status)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Options make a Client.
type Options struct {
	// Server is the URL of the control plane; empty: DefaultServer.
	Server string
	// Author is noted in the history; empty: the server makes one up.
	Author string
	// Agent is the User-Agent.
	Agent string
	// Timeout bounds one request; 0: DefaultTimeout. Event streams have none.
	Timeout time.Duration
	// Transport replaces the default one, in tests.
	Transport http.RoundTripper
}

// Client speaks to one control plane. It may be used by many goroutines.
type Client struct {
	base    *url.URL
	http    *http.Client
	author  string
	agent   string
	timeout time.Duration
}

// New makes a client; it does not connect.
func New(o Options) (*Client, error) {
	if o.Server == "" {
		o.Server = DefaultServer
	}
	base, err := ParseServer(o.Server)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	return &Client{
		base: base,
		http: &http.Client{
			Transport: o.Transport,
			// The interface has no redirects; one would turn a write into a read.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		author:  printable(o.Author, api.MaxAuthor),
		agent:   o.Agent,
		timeout: o.Timeout,
	}, nil
}

// newTransport is like the default one, with connections of its own, so that
// Close lets go what this client opened and nothing else.
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

// Server is the URL that the client speaks to.
func (c *Client) Server() string { return c.base.String() }

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is one request.
type call struct {
	method string
	path   string // escaped, with the leading /v1
	query  url.Values
	header http.Header
	media  string // of the body
	body   []byte
	accept string
}

// changes reports whether the call, answered or not, may have changed the fleet.
func (q call) changes() bool {
	return !api.Reads(q.method, q.path) && !q.query.Has(api.QueryDryRun)
}

// answer is what came back, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do carries the call out. Answers of 400 and above become errors.
func (c *Client) do(ctx context.Context, q call) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := c.send(ctx, q)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, c.noAnswer(ctx, q, err)
	}
	if len(body) > maxAnswer {
		return answer{}, &UnexpectedError{c.describe(q), resp.StatusCode, "it is too long"}
	}
	a := answer{resp.StatusCode, resp.Header, body}
	return a, c.checkAnswer(q, a)
}

func (c *Client) send(ctx context.Context, q call) (*http.Response, error) {
	target := *c.base
	escaped := c.base.Path + q.path
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, fmt.Errorf("path %q: %w", q.path, err)
	}
	target.Path, target.RawPath = plain, escaped
	target.RawQuery = q.query.Encode()
	req, err := http.NewRequestWithContext(ctx, q.method, target.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.describe(q), err)
	}
	for name, values := range q.header {
		req.Header[name] = values
	}
	if q.media != "" {
		req.Header.Set("Content-Type", q.media)
	}
	if q.accept == "" {
		q.accept = api.MediaJSON
	}
	req.Header.Set("Accept", q.accept)
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	if c.author != "" && q.method != http.MethodGet {
		req.Header.Set(api.HeaderAuthor, c.author)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.noAnswer(ctx, q, err)
	}
	return resp, nil
}

// noAnswer tells a caller that gave up from a server that is not there.
func (c *Client) noAnswer(ctx context.Context, q call, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		if !q.changes() || neverSent(err) {
			return context.Canceled
		}
		return fmt.Errorf("%w; whether the change was made is not known", context.Canceled)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // u repeats method and URL
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = errors.New("nothing heard in time")
	case strings.Contains(err.Error(), "malformed HTTP response"): // net/http has no type for it
		err = errors.New("what answers speaks no HTTP/1.1: expected the REST address (by default port 7400), not that for nodes")
	}
	return &noServerError{c.Server(), q.changes(), err}
}

func (c *Client) checkAnswer(q call, a answer) error {
	if a.status >= 200 && a.status < 300 {
		return nil
	}
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if a.status >= 400 && media == api.MediaProblem {
		e := new(api.Error)
		if err := json.Unmarshal(a.body, e); err == nil {
			return e
		}
	}
	return &UnexpectedError{c.describe(q), a.status, excerpt(a.body)}
}

func (c *Client) describe(q call) string {
	return q.method + " " + c.Server() + q.path
}

// read carries the call out and decodes the JSON answer.
func read[T any](ctx context.Context, c *Client, q call) (T, error) {
	v, _, err := readTagged[T](ctx, c, q)
	return v, err
}

// readTagged is read, with the answer's ETag.
func readTagged[T any](ctx context.Context, c *Client, q call) (T, string, error) {
	var v T
	a, err := c.do(ctx, q)
	if err != nil {
		return v, "", err
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		return v, "", &UnexpectedError{c.describe(q), a.status, err.Error()}
	}
	return v, a.header.Get("ETag"), nil
}

// excerpt is the beginning of an answer on one line.
func excerpt(body []byte) string {
	if len(body) > maxUnexpected {
		body = append(body[:maxUnexpected:maxUnexpected], "…"...)
	}
	return strconv.Quote(strings.ToValidUTF8(string(body), "?"))
}

// printable makes a header value of s: at most limit bytes of visible ASCII.
func printable(s string, limit int) string {
	b := make([]byte, 0, min(len(s), limit))
	for i := 0; i < len(s) && len(b) < limit; i++ {
		if s[i] > ' ' && s[i] < 0x7f {
			b = append(b, s[i])
		}
	}
	return string(b)
}
