package http2_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// bomber is a client of a server that gets field blocks byte for byte.
type bomber struct {
	http2.Conn
	stream uint32
	now    int64
	head   message.Head
}

func newBomber(t testing.TB) *bomber { return newBomberTo(t, http2.Options{}) }

func newBomberTo(t testing.TB, o http2.Options) *bomber {
	b := &bomber{stream: 1}
	b.Init(http2.Server, o)
	in := append([]byte(http2.Preface), 0, 0, 0, 4, 0, 0, 0, 0, 0)
	for len(in) > 0 {
		ev, _ := b.Next(0, in, &b.head, nil)
		if ev.N == 0 {
			t.Fatalf("%v %v", ev.Kind, ev.Reason)
		}
		in = in[ev.N:]
	}
	return b
}

// send sends a block as a request of its own, in one frame.
func (b *bomber) send(block []byte) http2.Event {
	n := len(block)
	in := []byte{byte(n >> 16), byte(n >> 8), byte(n), 1, 5} // HEADERS, END_STREAM and END_HEADERS
	in = append(binary.BigEndian.AppendUint32(in, b.stream), block...)
	b.stream += 2
	ev, _ := b.Next(0, in, &b.head, nil)
	return ev
}

var (
	// plain is a request for http://a/.
	plain = []byte{0x82, 0x84, 0x86, 0x01, 1, 'a'}
	// wide puts a field with a name of 4,000 bytes into the table (RFC 7541 section
	// 6.2.1).
	wide = append(append([]byte{0x40, 127, 0x80 | 0x21, 30}, strings.Repeat("n", 4000)...), 0)
)

// block is a request with something said so many times behind it.
func block(say []byte, times int) []byte {
	return append(bytes.Clone(plain), bytes.Repeat(say, times)...)
}

func TestOfAHeadThatIsTooLargeNoMoreIsDecodedThanShowsIt(t *testing.T) {
	for name, c := range map[string]struct {
		again []byte
		want  http2.Reason
	}{
		"a large entry, named again":    {block([]byte{0x80 | 62}, 4000), http2.HeadTooLarge},
		"one that came with it":         {append(append(bytes.Clone(plain), wide...), bytes.Repeat([]byte{0x80 | 62}, 4000)...), http2.HeadTooLarge},
		"small ones, any number":        {block([]byte{0x90}, 2000), http2.TooManyFields},
		"large values, never indexed":   {block(append([]byte{0x10, 1, 'x', 127, 0x80 | 0x21, 30}, strings.Repeat("v", 4000)...), 17)[:16000], http2.NoReason},
		"as many fields as are allowed": {block([]byte{0x90}, http2.DefaultFields), http2.NoReason},
		"and one more":                  {block([]byte{0x90}, http2.DefaultFields+1), http2.TooManyFields},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBomber(t)
			if ev := b.send(append(bytes.Clone(plain), wide...)); ev.Kind != http2.Head {
				t.Fatalf("%v %v", ev.Kind, ev.Reason)
			}
			if ev, _ := b.Next(0, nil, &b.head, nil); ev.Kind != http2.End {
				t.Fatal(ev.Kind)
			}
			ev := b.send(c.again)
			if name == "large values, never indexed" { // cut in the last value
				if ev.Kind != http2.Failed || ev.Reason != http2.BadCompression {
					t.Errorf("%v %v", ev.Kind, ev.Reason)
				}
				return
			}
			if ev.Reason != c.want {
				t.Fatalf("%v %v, want %v", ev.Kind, ev.Reason, c.want)
			}
			if n := len(b.head.Arena); n > 16<<10 {
				t.Errorf("%d bytes were decoded", n)
			}
		})
	}
}

// TestABlockThatTurnsTheTableOverEndsTheConnection names an entry again and again for
// new ones: two bytes make us copy four thousand.
func TestABlockThatTurnsTheTableOverEndsTheConnection(t *testing.T) {
	over := []byte{0x40 | 62, 0} // the name of the newest entry, and no value
	b := newBomber(t)
	if ev := b.send(append(append(bytes.Clone(plain), wide...), bytes.Repeat(over, 10)...)); ev.Kind != http2.Head {
		t.Fatalf("a head within its limits: %v %v", ev.Kind, ev.Reason)
	}
	if ev, _ := b.Next(0, nil, &b.head, nil); ev.Kind != http2.End {
		t.Fatal(ev.Kind)
	}
	if ev := b.send(block(over, 6000)); ev.Kind != http2.Failed || ev.Reason != http2.BlockTooLarge {
		t.Errorf("%v %v, want that the block is too large", ev.Kind, ev.Reason)
	}
}

// TestATableSurvivesAHeadThatIsTooLarge decodes what the rest of a refused head put
// into the table.
func TestATableSurvivesAHeadThatIsTooLarge(t *testing.T) {
	b := newBomber(t)
	large := block([]byte{0x90}, 200)
	large = append(large, 0x40, 1, 'x', 1, 'y')
	if ev := b.send(large); ev.Kind != http2.Refused || ev.Reason != http2.TooManyFields {
		t.Fatalf("%v %v", ev.Kind, ev.Reason)
	}
	if ev := b.send(append(bytes.Clone(plain), 0x80|62)); ev.Kind != http2.Head {
		t.Fatalf("%v %v", ev.Kind, ev.Reason)
	}
	f := b.head.Fields[len(b.head.Fields)-1]
	if name, value := b.head.Bytes(f.Name), b.head.Bytes(f.Value); string(name) != "x" || string(value) != "y" {
		t.Errorf("%q: %q", name, value)
	}
}

// TestHeadsThatAreTooLargeAreAnsweredSoManyTimes and then reset, until they end the
// connection.
func TestHeadsThatAreTooLargeAreAnsweredSoManyTimes(t *testing.T) {
	b := newBomber(t)
	many := block([]byte{0x90}, 2000)
	answered, reset := 0, 0
	for {
		ev := b.send(many)
		if ev.Kind == http2.Failed {
			if ev.Reason != http2.ErrorFlood {
				t.Errorf("ended by %v", ev.Reason)
			}
			break
		}
		if ev.Kind != http2.Refused || ev.Reason != http2.TooManyFields {
			t.Fatalf("%v %v", ev.Kind, ev.Reason)
		}
		switch {
		case ev.Answer:
			answered++
			b.AppendResponse(nil, ev.Stream, &message.Out{Status: 431, Framing: message.FramingLength}, true)
		case ev.Code == http2.EnhanceYourCalm:
			reset++
		default:
			t.Fatalf("reset with %v", ev.Code)
		}
	}
	if answered != 8 || reset != 92 {
		t.Errorf("%d answered and %d reset, want 8 and 92", answered, reset)
	}
}

func BenchmarkHeadsThatAreRefused(b *testing.B) {
	for name, again := range map[string][]byte{
		"large entry": block([]byte{0x80 | 62}, 4000),
		"many fields": block([]byte{0x90}, 2000),
		"table":       block([]byte{0x40 | 62, 0}, 6000),
	} {
		b.Run(name, func(b *testing.B) {
			var c *bomber
			for b.Loop() {
				if c == nil || c.send(again).Kind == http2.Failed {
					c = newBomber(b)
					c.send(append(bytes.Clone(plain), wide...))
				}
			}
		})
	}
}
