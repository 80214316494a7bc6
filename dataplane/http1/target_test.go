package http1

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// TestOPTIONSOfAWholeServerIsOneForm whichever way it was asked for: the absolute form
// without path and query is that of a client that takes us for its proxy, and means "*"
// behind us (RFC 9112 section 3.2.4).
func TestOPTIONSOfAWholeServerIsOneForm(t *testing.T) {
	for line, want := range map[string]message.TargetForm{
		"OPTIONS * HTTP/1.1":                 message.FormAsterisk,
		"OPTIONS http://a.test HTTP/1.1":     message.FormAsterisk,
		"OPTIONS HTTPS://a.test HTTP/1.1":    message.FormAsterisk,
		"OPTIONS http://a.test/ HTTP/1.1":    message.FormAbsolute,
		"OPTIONS http://a.test?q HTTP/1.1":   message.FormAbsolute,
		"OPTIONS http://a.test? HTTP/1.1":    message.FormAbsolute,
		"OPTIONS / HTTP/1.1":                 message.FormOrigin,
		"GET http://a.test HTTP/1.1":         message.FormAbsolute,
		"PROPFIND http://a.test HTTP/1.1":    message.FormAbsolute,
		"OPTIONS http://a.test/%2A HTTP/1.1": message.FormAbsolute,
	} {
		var r Reader
		r.Init(Server, Limits{})
		var h message.Head
		if ev := r.Next([]byte(line+"\r\nHost: a.test\r\n\r\n"), &h); ev.Kind != Head || h.Form != want {
			t.Errorf("%s: %s %s, form %d, want %d", line, ev.Kind, ev.Reason, h.Form, want)
		}
		if h.Form == message.FormAsterisk && (h.Path.Len() > 0 || string(h.Bytes(h.Authority)) != "a.test") {
			t.Errorf("%s: path %q, authority %q", line, h.Bytes(h.Path), h.Bytes(h.Authority))
		}
	}
}
