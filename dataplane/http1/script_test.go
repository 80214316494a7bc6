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

// play feeds input to a new reader, cut at the given sizes (the last one is
// repeated), then closes. Each time the unconsumed bytes move to a new place.
func play(t testing.TB, role http1.Role, asked message.Method, input []byte, limits http1.Limits, sizes ...int) (tr transcript) {
	var (
		r    http1.Reader
		h    message.Head
		open *http1test.Message
		held []byte
		body []byte
	)
	r.Init(role, limits)
	r.ExpectResponseTo(asked)
	see := func(ev http1.Event) (more bool) {
		if ev.N < 0 || ev.N > len(held) || ev.Start < 0 || ev.Start > ev.End || ev.End > ev.N {
			t.Fatalf("event %+v outside of %d bytes", ev, len(held))
		}
		tr.consumed += ev.N
		switch ev.Kind {
		case http1.Head, http1.Interim:
			tr.heads = append(tr.heads, dump(role, &h))
			open = &http1test.Message{Line: line(role, &h), Closes: !h.KeepAlive}
			body = nil
			if ev.Kind == http1.Interim {
				open.Closes = false
				tr.messages = append(tr.messages, *open)
				open = nil
			}
		case http1.Data:
			if open == nil || ev.Start == ev.End {
				t.Fatalf("data %+v outside of a message, or empty", ev)
			}
			body = append(body, held[ev.Start:ev.End]...)
		case http1.End:
			if open == nil {
				t.Fatalf("end without a head")
			}
			open.Body = string(body)
			open.Trailers = string(held[ev.Start:ev.End])
			tr.messages = append(tr.messages, *open)
			open = nil
			r.ExpectResponseTo(asked)
		case http1.NeedMore:
			if ev.N != 0 {
				t.Fatalf("NeedMore consumed %d bytes", ev.N)
			}
			return false
		case http1.Failed:
			if ev.Reason == http1.NoReason || r.Idle() {
				t.Fatalf("failed without a reason")
			}
			if again := r.Next(held, &h); again.Kind != http1.Failed || again.Reason != ev.Reason {
				t.Fatalf("failed with %v and then %+v", ev.Reason, again)
			}
			tr.reason = ev.Reason
			return false
		case http1.Closed:
			tr.tunnel = len(held) > 0
			return false
		}
		held = held[ev.N:]
		return true
	}
	for len(input) > 0 && tr.reason == http1.NoReason && !tr.tunnel {
		n := min(sizes[0], len(input))
		if len(sizes) > 1 {
			sizes = sizes[1:]
		}
		if len(held) < 1024 {
			held = append(slices.Clone(held), input[:n]...)
		} else {
			held = append(held, input[:n]...)
		}
		input = input[n:]
		for see(r.Next(held, &h)) {
		}
	}
	if tr.reason == http1.NoReason && !tr.tunnel {
		for see(r.Next(held, &h)) { // an input without bytes
		}
		for see(r.EOF()) {
		}
	}
	if open != nil {
		tr.begun = string(body)
	}
	return tr
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
