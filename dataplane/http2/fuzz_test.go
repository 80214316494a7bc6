package http2_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
)

// FuzzConn feeds any bytes, behind a preface, to both roles: the events and the
// frames that answer them do not depend on how the bytes are cut, and nothing is
// consumed that was not given. Answers are made, so that streams end.
func FuzzConn(f *testing.F) {
	for _, seed := range corpus(f) {
		f.Add(seed, uint8(7), false)
		f.Add(seed, uint8(100), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, cut uint8, client bool) {
		if len(input) > 16<<10 {
			return
		}
		whole := talkTo(t, input, len(input)+1, client)
		for _, size := range []int{1, int(cut) + 2} {
			if split := talkTo(t, input, size, client); split != whole {
				t.Fatalf("cut by %d:\n%s", size, difference(whole, split))
			}
		}
	})
}

// corpus is what the peers of the scripts send, each connection an input.
func corpus(t testing.TB) (inputs [][]byte) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var input []byte
		p := &player{TB: t}
		printed := false // what a block printed is no command
		for line := range strings.SplitSeq(string(text), "\n") {
			verb, _, _ := strings.Cut(line, " ")
			if line == "" || line == "----" {
				printed = line != ""
			}
			if printed {
				continue
			}
			switch verb {
			case "server", "client":
				if len(input) > 0 {
					inputs = append(inputs, input)
				}
				input = nil
				p.command(line)
			case "headers", "continuation", "data", "rst", "ping", "goaway", "window", "priority", "raw", "settings":
				input = append(input, p.frame(verb, strings.Fields(line)[1:])...)
			}
		}
		inputs = append(inputs, input)
	}
	return inputs
}

// talkTo plays an input and returns what came of it.
func talkTo(t testing.TB, input []byte, size int, client bool) string {
	p := &player{TB: t}
	p.now = 1
	o := http2.Options{Streams: 8, StreamWindow: 1000, HeadBytes: 2000, Fields: 20, ExtendedConnect: true}
	start := []byte(http2.Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00")
	if client {
		p.role = http2.Client
		start = start[len(http2.Preface):]
	}
	p.Init(p.role, o)
	p.out = p.AppendPreface(nil)
	for _, line := range []string{"0 GET", "0 end HEAD", "0 POST", "0 end PUT"} {
		if client {
			p.call("request", append(strings.Fields(line)[1:], "/", "a.test"))
		}
	}
	input = append(start, input...)
	for len(input) > 0 && !p.failed {
		n := min(size, len(input))
		p.held = append(bytes.Clone(p.held), input[:n]...)
		input = input[n:]
		for !p.failed {
			var ev http2.Event
			ev, p.out = p.Next(p.now, p.held, &p.head, p.out)
			if ev.N < 0 || ev.N > len(p.held) || ev.Start > ev.End || ev.End > ev.N {
				t.Fatalf("event %+v outside of %d bytes", ev, len(p.held))
			}
			if ev.Kind == http2.NeedMore {
				break
			}
			p.see(ev)
			p.held = p.held[ev.N:]
			p.answer(ev)
		}
	}
	p.flushData()
	if len(p.out) > 1<<20 {
		t.Fatalf("%d bytes of output", len(p.out))
	}
	return fmt.Sprintf("%s\n%x", strings.Join(p.print, "\n"), p.out)
}

// answer ends some streams, and reads some bodies, when their peer's half is
// over: earlier would depend on how the bytes were cut.
func (p *player) answer(ev http2.Event) {
	switch {
	case ev.Kind == http2.Refused && ev.Answer:
		p.call("respond", []string{fmt.Sprint(ev.Stream), "end", fmt.Sprint(ev.Reason.Status()), "length=0"})
	case ev.Kind != http2.End:
	case p.role == http2.Client:
		p.out = p.AppendConsumed(p.out, ev.Stream, 1<<20)
		p.out = p.AppendTrailers(p.out, ev.Stream, nil)
	case ev.Stream%3 == 1:
		p.call("respond", []string{fmt.Sprint(ev.Stream), "end", "200"})
	case ev.Stream%3 == 2:
		p.call("respond", []string{fmt.Sprint(ev.Stream), "200"})
		p.out, _ = p.AppendData(p.out, ev.Stream, make([]byte, 100), true)
	}
}
