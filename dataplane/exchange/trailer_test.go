package exchange

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestTrailersThatMeanSomethingInAHeadAloneDoNotPass (RFC 9110 section 6.5.1), in
// either direction; others do, those of gRPC among them.
func TestTrailersThatMeanSomethingInAHeadAloneDoNotPass(t *testing.T) {
	env := testEnv(t, func(_ *table.Listener, r *table.Route) {
		r.RequestHeaders = &table.HeaderOps{Remove: []table.HeaderName{{Name: []byte("x-up")}}}
		r.ResponseHeaders = &table.HeaderOps{Set: []table.HeaderField{{Name: []byte("x-down"), Value: []byte("ours")}}}
	})
	h := request("POST", "/", "Connection: x-hop")
	h.Named = true
	x, _ := begin(env, h)
	for _, c := range []struct {
		name     string
		up, down bool
	}{
		{"Content-Length", false, false},
		{"Transfer-Encoding", false, false},
		{"Trailer", false, false},
		{"Connection", false, false},
		{"Keep-Alive", false, false},
		{"TE", false, false},
		{"Upgrade", false, false},
		{"Host", false, false},
		{"Expect", false, false},
		{"Authorization", false, false},
		{"Proxy-Authorization", false, false},
		{"WWW-Authenticate", false, false},
		{"Cookie", false, false},
		{"Set-Cookie", false, false},
		{"X-Forwarded-For", false, true},
		{"X_Forwarded_For", false, true},
		{"X-Forwarded-Proto", false, true},
		{"X-Forwarded-Host", false, true},
		{"X-Forwarded-Port", false, true},
		{"X-Forwarded-Prefix", false, true},
		{"X-Real-IP", false, true},
		{"Forwarded", false, true},
		{"Client-Cert", false, true},
		{"X-Request-Id", false, true},
		{"Cache-Control", false, false},
		{"If-Match", false, false},
		{"Range", false, false},
		{"Location", false, false},
		{"Content-Type", false, false},
		{"Content-Encoding", false, false},
		{"Content-Range", false, false},
		{"X-Up", false, true},
		{"X-Down", true, false},
		{"X-Hop", false, true},
		{"ETag", true, true},
		{"grpc-status", true, true},
		{"grpc-message", true, true},
		{"grpc-status-details-bin", true, true},
		{"Digest", true, true},
	} {
		name := []byte(c.name)
		id := message.LookupField(name)
		if got := x.TrailerGoesUp(name, id); got != c.up {
			t.Errorf("%s goes up: %t", c.name, got)
		}
		if got := x.TrailerGoesDown(name, id); got != c.down {
			t.Errorf("%s goes down: %t", c.name, got)
		}
	}
}

// TestTrailersThatConnectionNamesEndHere, as the fields of the head do (RFC 9110 section
// 7.6.1): also those of an answer, whose head is gone when they come.
func TestTrailersThatConnectionNamesEndHere(t *testing.T) {
	env := testEnv(t, nil)
	x := new(Exchange)
	for _, c := range []struct {
		connection []string
		name       string
		passes     bool
	}{
		{nil, "X-Hop", true},
		{[]string{"close, x-hop"}, "X-Hop", false},
		{[]string{"x-other", "X-HOP"}, "x-hop", false},
		{[]string{"x-other", "x-hop"}, "x-hop-2", true},
		{[]string{"x-forwarded-for"}, "X-Forwarded-For", true}, // as ever
		{nil, "X-Hop", true},                                   // of the next exchange
	} {
		x.Reset()
		x.Begin(env, request("GET", "/"), Arrival{Peer: peer, Start: 5, Now: 10})
		x.Step(env, 20, gotNew)
		var fields []string
		for _, value := range c.connection {
			fields = append(fields, "Connection: "+value)
		}
		answer := request("", "", fields...)
		answer.Status, answer.Framing, answer.Named = 200, message.FramingChunked, len(c.connection) > 0
		x.Step(env, 30, Event{Kind: EventResponseHead, Head: answer})
		var out message.Out
		x.ResponseHead(env, answer, &out)
		name := []byte(c.name)
		if got := x.TrailerGoesDown(name, message.LookupField(name)); got != c.passes {
			t.Errorf("%q: %s goes down: %t", c.connection, c.name, got)
		}
	}
}
