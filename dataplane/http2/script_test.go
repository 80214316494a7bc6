package http2_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
	xhttp2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var update = flag.Bool("update", false, "write what the scripts print into them")

// TestEveryScriptPrintsTheSameHoweverItIsCut plays every script of testdata: blocks of commands, and behind
// "----" what they print. Each is played with whole blocks, byte by byte, and in
// pieces of several sizes: the prints must be the same.
func TestEveryScriptPrintsTheSameHoweverItIsCut(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(play(t, string(text), 1<<20)), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, size := range []int{1 << 20, 1, 2, 5, 9, 10, 23} {
				if got := play(t, string(text), size); got != string(text) {
					t.Fatalf("in pieces of %d:\n%s", size, difference(string(text), got))
				}
			}
		})
	}
}

func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			from := max(i-5, 0)
			return "want\n" + strings.Join(w[from:min(i+4, len(w))], "\n") + "\ngot\n" + strings.Join(g[min(from, len(g)):min(i+4, len(g))], "\n")
		}
	}
	return fmt.Sprintf("%d lines more", len(g)-len(w))
}

// play runs a script and returns it with what it printed.
func play(t *testing.T, text string, size int) string {
	var done strings.Builder
	p := &player{TB: t, size: size}
	for block := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n\n") {
		commands, _, expects := strings.Cut(block, "\n----")
		if done.Len() > 0 {
			done.WriteString("\n\n")
		}
		done.WriteString(commands)
		if !expects {
			continue // a comment
		}
		p.print = nil
		for line := range strings.SplitSeq(commands, "\n") {
			if !strings.HasPrefix(line, "#") {
				p.command(line)
			}
		}
		p.feed()
		p.frames()
		done.WriteString("\n----")
		for i, line := range p.print {
			switch skipped := len(p.print) - maxPrint; {
			case skipped < 2 || i < maxPrint-4 || i >= len(p.print)-4:
				done.WriteString("\n" + line)
			case i == maxPrint-4:
				fmt.Fprintf(&done, "\n... %d lines", skipped)
			}
		}
	}
	return done.String() + "\n"
}

// maxPrint is how many lines a block prints; of more, the middle is left out.
const maxPrint = 24

// player is the caller of a Conn, and its peer.
type player struct {
	testing.TB
	http2.Conn
	size int // of the pieces in which bytes come
	now  int64

	encoder *hpack.Encoder
	block   bytes.Buffer
	pending []byte // frames of the peer that were not fed yet
	held    []byte // fed and not consumed
	out     []byte
	head    message.Head
	framer  *xhttp2.Framer
	wire    bytes.Buffer // what the Conn sent
	print   []string
	role    http2.Role
	failed  bool
	tags    map[uint32]uint32 // of requests, by stream
	told    struct {
		stream uint32
		n      int
	}
}

func (p *player) command(line string) {
	words := strings.Fields(line)
	switch verb, args := words[0], words[1:]; verb {
	case "server", "client":
		p.start(verb, args)
	case "tick":
		p.feed()
		p.now += int64(p.number(args[0])) * 1e9
	case "flood":
		n := p.number(args[0])
		for i := range n {
			for part := range strings.SplitSeq(strings.Join(args[1:], " "), ";") {
				p.command(strings.ReplaceAll(strings.TrimSpace(part), "$i", strconv.Itoa(1+2*i)))
			}
		}
	case "respond", "request", "send", "end", "consumed", "reset", "shutdown", "leave", "ask", "open":
		p.feed()
		p.call(verb, args)
	default:
		p.pending = append(p.pending, p.frame(verb, args)...)
	}
}

func (p *player) number(s string) int {
	n, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		p.Fatalf("%q is no number", s)
	}
	return int(n)
}

// options reads name=value words into options.
func (p *player) start(role string, args []string) {
	var o http2.Options
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "streams":
			o.Streams = p.number(value)
		case "window":
			o.StreamWindow = p.number(value)
		case "connwindow":
			o.ConnWindow = p.number(value)
		case "head":
			o.HeadBytes = p.number(value)
		case "fields":
			o.Fields = p.number(value)
		case "extended":
			o.ExtendedConnect = true
		default:
			p.Fatalf("option %q", a)
		}
	}
	*p = player{TB: p.TB, size: p.size}
	if role == "client" {
		p.role = http2.Client
	}
	p.now = 1e9
	p.Init(p.role, o)
	p.encoder = hpack.NewEncoder(&p.block)
	p.framer = xhttp2.NewFramer(nil, &p.wire)
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.out = p.AppendPreface(p.out)
}

// feed gives the pending bytes to the Conn, in pieces.
func (p *player) feed() {
	if p.encoder == nil {
		return
	}
	for len(p.pending) > 0 && !p.failed {
		n := min(p.size, len(p.pending))
		p.held = append(bytes.Clone(p.held), p.pending[:n]...)
		p.pending = p.pending[n:]
		p.drain()
	}
	p.drain()
	p.flushData()
}

func (p *player) drain() {
	for !p.failed {
		var ev http2.Event
		before := len(p.out)
		ev, p.out = p.Next(p.now, p.held, &p.head, p.out)
		if ev.N < 0 || ev.N > len(p.held) || ev.Start > ev.End || ev.End > ev.N {
			p.Fatalf("event %+v outside of %d bytes", ev, len(p.held))
		}
		if ev.Kind == http2.NeedMore {
			if ev.N != 0 || len(p.out) != before {
				p.Fatalf("NeedMore did something: %+v", ev)
			}
			return
		}
		p.see(ev)
		p.held = p.held[ev.N:]
	}
}

// see prints an event. Pieces of one body are counted together.
func (p *player) see(ev http2.Event) {
	if ev.Kind == http2.Noted {
		return
	}
	if tag, ok := p.tags[ev.Stream]; ok && ev.Kind != http2.GoAway && ev.Tag != tag {
		p.Errorf("%v of stream %d has the tag %d of another request, its own is %d", ev.Kind, ev.Stream, ev.Tag, tag)
	}
	if ev.Kind == http2.Data {
		if p.told.stream != ev.Stream {
			p.flushData()
		}
		p.told.stream = ev.Stream
		p.told.n += ev.End - ev.Start
		return
	}
	p.flushData()
	line := ev.Kind.String()
	if ev.Stream != 0 || ev.Kind == http2.GoAway {
		line += fmt.Sprintf(" %d", ev.Stream)
	}
	if ev.Kind == http2.Reset || ev.Kind == http2.GoAway {
		line += " " + ev.Code.String()
	}
	if ev.Reason != http2.NoReason {
		line += fmt.Sprintf(" (%v)", ev.Reason)
	}
	switch ev.Kind {
	case http2.Head, http2.Interim:
		line += dump(p.role, &p.head)
	case http2.End:
		if ev.Trailers {
			line += " with" + fields(&p.head)
		}
	case http2.Refused:
		if ev.Answer {
			line += fmt.Sprintf(" to be answered with %d", ev.Reason.Status())
		}
	case http2.PingAck:
		line += fmt.Sprintf(" %x", ev.Ping)
	case http2.Failed:
		p.failed = true
	}
	p.println(line)
}

func (p *player) println(line string) { p.print = append(p.print, line) }

func (p *player) flushData() {
	if p.told.n > 0 {
		p.println(fmt.Sprintf("data %d: %d bytes", p.told.stream, p.told.n))
	}
	p.told.stream, p.told.n = 0, 0
}

// dump is a head in a line.
func dump(role http2.Role, h *message.Head) string {
	var b strings.Builder
	if role == http2.Server {
		fmt.Fprintf(&b, " %s %q at %q", h.Bytes(h.MethodName), h.Bytes(h.Target), h.Bytes(h.Authority))
		if h.HasQuery {
			fmt.Fprintf(&b, " path %q query %q", h.Bytes(h.Path), h.Bytes(h.Query))
		}
		if h.Protocol.Len() > 0 {
			fmt.Fprintf(&b, " protocol %q", h.Bytes(h.Protocol))
		}
	} else {
		fmt.Fprintf(&b, " %d", h.Status)
	}
	fmt.Fprintf(&b, ", %s", [...]string{"no body", "length " + strconv.FormatInt(h.Length, 10), "until the end", "until close"}[h.Framing])
	if h.Expect100 {
		b.WriteString(", expects 100")
	}
	return b.String() + fields(h)
}

func fields(h *message.Head) string {
	var b strings.Builder
	for _, f := range h.Fields {
		fmt.Fprintf(&b, " %s=%q", h.Bytes(f.Name), h.Bytes(f.Value))
		if f.Sensitive {
			b.WriteString("(sensitive)")
		}
	}
	return b.String()
}

// frames prints what the Conn sent.
func (p *player) frames() {
	p.wire.Write(p.out)
	p.out = p.out[:0]
	if rest, ok := bytes.CutPrefix(p.wire.Bytes(), []byte(http2.Preface)); ok {
		p.println("> preface")
		p.wire.Next(p.wire.Len() - len(rest))
	}
	counts := map[string]int{}
	var order []string
	for {
		f, err := p.framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.Fatalf("x/net cannot read what was sent: %v", err)
		}
		line := frameLine(f)
		if counts[line]++; counts[line] == 1 {
			order = append(order, line)
		}
	}
	for _, line := range order {
		if n := counts[line]; n > 1 {
			line += fmt.Sprintf(", %d times", n)
		}
		p.println("> " + line)
	}
}

func frameLine(f xhttp2.Frame) string {
	h := f.Header()
	line := h.Type.String()
	if h.StreamID > 0 {
		line += fmt.Sprintf(" %d", h.StreamID)
	}
	switch f := f.(type) {
	case *xhttp2.MetaHeadersFrame:
		for _, field := range f.Fields {
			value := field.Value
			if len(value) > 100 {
				value = fmt.Sprintf("%d bytes", len(value))
			}
			line += fmt.Sprintf(" %s=%q", field.Name, value)
			if field.Sensitive {
				line += "(sensitive)"
			}
		}
		if f.StreamEnded() {
			line += " end"
		}
	case *xhttp2.DataFrame:
		line += fmt.Sprintf(" %d bytes", len(f.Data()))
		if f.StreamEnded() {
			line += " end"
		}
	case *xhttp2.RSTStreamFrame:
		line += " " + http2.Code(f.ErrCode).String()
	case *xhttp2.GoAwayFrame:
		line += fmt.Sprintf(" last %d %v %q", f.LastStreamID, http2.Code(f.ErrCode), f.DebugData())
	case *xhttp2.WindowUpdateFrame:
		line += fmt.Sprintf(" %d", f.Increment)
	case *xhttp2.PingFrame:
		line += fmt.Sprintf(" %x ack=%v", f.Data, f.IsAck())
	case *xhttp2.SettingsFrame:
		if f.IsAck() {
			line += " ack"
		}
		_ = f.ForeachSetting(func(s xhttp2.Setting) error {
			line += fmt.Sprintf(" %d=%d", uint16(s.ID), s.Val)
			return nil
		})
	}
	return line
}

// call does what the Conn's caller does.
func (p *player) call(verb string, args []string) {
	var o message.Out
	id := uint32(0)
	if verb != "request" && verb != "open" && len(args) > 0 {
		id = uint32(p.number(args[0]))
		args = args[1:]
	}
	end := len(args) > 0 && args[0] == "end"
	if end {
		args = args[1:]
	}
	switch verb {
	case "respond":
		o.Status = uint16(p.number(args[0]))
		p.outFields(&o, args[1:])
		p.out = p.AppendResponse(p.out, id, &o, end)
	case "request":
		o.Method, o.Target, o.Authority = []byte(args[0]), []byte(args[1]), []byte(args[2])
		p.outFields(&o, args[3:])
		var ok bool
		tag := uint32(1000 + len(p.tags))
		p.out, id, ok = p.AppendRequest(p.out, &o, end, tag)
		if ok {
			if p.tags == nil {
				p.tags = map[uint32]uint32{}
			}
			p.tags[id] = tag
		}
		p.println(fmt.Sprintf("opened %d %v", id, ok))
	case "open":
		p.println(fmt.Sprintf("open: %v, %d streams, extended connect: %v", p.Open(), p.Streams(), p.ExtendedConnect()))
	case "send":
		var n int
		size := 0
		if len(args) > 0 {
			size = p.number(args[0])
		}
		p.out, n = p.AppendData(p.out, id, make([]byte, size), end)
		if n < size {
			p.println(fmt.Sprintf("taken %d, room %d", n, p.Room(id)))
		}
	case "end":
		p.outFields(&o, args)
		p.out = p.AppendTrailers(p.out, id, o.Fields)
	case "consumed":
		p.out = p.AppendConsumed(p.out, id, p.number(args[0]))
	case "reset":
		p.out = p.AppendReset(p.out, id, http2.Code(p.number(args[0])))
	case "shutdown":
		p.out = p.AppendShutdown(p.out)
	case "leave":
		p.out = p.AppendGoAway(p.out, http2.NoError)
	case "ask":
		var ok bool
		if p.out, ok = p.AppendPing(p.out, uint64(id)); !ok {
			p.println("no ping")
		}
	}
}

func (p *player) outFields(o *message.Out, args []string) {
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		switch name {
		case "length":
			o.Framing, o.Length = message.FramingLength, int64(p.number(value))
		case "protocol":
			o.Protocol = []byte(value)
		case "large":
			o.Add([]byte("large"), bytes.Repeat([]byte("x"), p.number(value)))
		default:
			o.Add([]byte(name), []byte(value))
		}
	}
}
