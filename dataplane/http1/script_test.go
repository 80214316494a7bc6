package http1_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http1/http1test"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// transcript is what a reader made of an input: every complete message, what
// was begun, and how it ended.
type transcript struct {
	messages []http1test.Message
	heads    []string // every part of every head, in full
	begun    string   // the body of a message that did not end
	reason   http1.Reason
	consumed int
	tunnel   bool // the reader stopped before the input did
}

// player feeds bytes to a reader and writes its transcript.
type player struct {
	testing.TB
	http1.Reader
	role  http1.Role
	asked message.Method

	transcript
	head message.Head
	open *http1test.Message // begun and not ended
	body []byte
	held []byte // received and not consumed
}

// play feeds input to a new reader, cut at the given sizes (the last one is
// repeated), then closes. Each time the unconsumed bytes move to a new place.
func play(t testing.TB, role http1.Role, asked message.Method, input []byte, limits http1.Limits, sizes ...int) transcript {
	p := &player{TB: t, role: role, asked: asked}
	p.Init(role, limits)
	p.ExpectResponseTo(asked)
	for len(input) > 0 && p.reason == http1.NoReason && !p.tunnel {
		n := min(sizes[0], len(input))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		if len(p.held) < 1024 {
			p.held = append(slices.Clone(p.held), input[:n]...)
		} else {
			p.held = append(p.held, input[:n]...)
		}
		input = input[n:]
		for p.see(p.Next(p.held, &p.head)) {
		}
	}
	if p.reason == http1.NoReason && !p.tunnel {
		for p.see(p.Next(p.held, &p.head)) { // an input without bytes
		}
		for p.see(p.EOF()) {
		}
	}
	if p.open != nil {
		p.begun = string(p.body)
	}
	return p.transcript
}

// see checks and records an event. more is false if the next one needs bytes,
// or will not come.
func (p *player) see(ev http1.Event) (more bool) {
	if ev.N < 0 || ev.N > len(p.held) || ev.Start < 0 || ev.Start > ev.End || ev.End > ev.N {
		p.Fatalf("event %+v outside of %d bytes", ev, len(p.held))
	}
	if p.open == nil && (ev.Kind == http1.Data || ev.Kind == http1.End) {
		p.Fatalf("event %+v outside of a message", ev)
	}
	p.consumed += ev.N
	switch ev.Kind {
	case http1.Head:
		p.heads = append(p.heads, dump(p.role, &p.head))
		p.open = &http1test.Message{Line: line(p.role, &p.head), Closes: !p.head.KeepAlive}
		p.body = nil
	case http1.Interim:
		p.heads = append(p.heads, dump(p.role, &p.head))
		p.messages = append(p.messages, http1test.Message{Line: line(p.role, &p.head)})
	case http1.Data:
		if ev.Start == ev.End {
			p.Fatalf("empty data: %+v", ev)
		}
		p.body = append(p.body, p.held[ev.Start:ev.End]...)
	case http1.End:
		p.open.Body = string(p.body)
		p.open.Trailers = string(p.held[ev.Start:ev.End])
		p.messages = append(p.messages, *p.open)
		p.open = nil
		p.ExpectResponseTo(p.asked)
	case http1.NeedMore:
		if ev.N != 0 {
			p.Fatalf("NeedMore consumed %d bytes", ev.N)
		}
		return false
	case http1.Failed:
		if ev.Reason == http1.NoReason || p.Idle() {
			p.Fatalf("failed without a reason")
		}
		if again := p.Next(p.held, &p.head); again.Kind != http1.Failed || again.Reason != ev.Reason {
			p.Fatalf("failed with %v and then %+v", ev.Reason, again)
		}
		p.reason = ev.Reason
		return false
	case http1.Closed:
		p.tunnel = len(p.held) > 0
		return false
	}
	p.held = p.held[ev.N:]
	return true
}

// line is the start line in short.
func line(role http1.Role, h *message.Head) string {
	if role == http1.Client {
		return fmt.Sprint(h.Status)
	}
	return string(h.Bytes(h.MethodName)) + " " + string(h.Bytes(h.Target))
}

// dump is everything that a head says.
func dump(role http1.Role, h *message.Head) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s|%q|%q|%q|%v|%v|%q|1.%d|%v|%v|%d|%v %v %v %v\n", line(role, h),
		h.Bytes(h.Authority), h.Bytes(h.Path), h.Bytes(h.Query), h.HasQuery, h.Form, h.Bytes(h.Reason),
		h.Minor, h.Framing, h.Declared, h.Length, h.KeepAlive, h.Expect100, h.Upgrade, h.Named)
	for _, f := range h.Fields {
		fmt.Fprintf(&b, "%q: %q (%d)\n", h.Bytes(f.Name), h.Bytes(f.Value), f.ID)
	}
	return b.String()
}

// equal compares two transcripts of the same bytes.
func (tr transcript) equal(other transcript) bool {
	return slices.Equal(tr.messages, other.messages) && slices.Equal(tr.heads, other.heads) &&
		tr.begun == other.begun && tr.reason == other.reason && tr.consumed == other.consumed
}
