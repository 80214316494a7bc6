package http2_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// The flags of HEADERS.
const (
	endStream  = 0x1
	endHeaders = 0x4
	priority   = 0x20
)

// sendLarge sends a block on a stream, in as many frames as it needs, and says what came of it.
func (b *bomber) sendLarge(stream uint32, flags byte, block []byte) (ev http2.Event) {
	for kind := byte(1); ; kind, flags = 9, 0 { // HEADERS, then CONTINUATION
		n := min(len(block), http2.MaxFrame)
		if n == len(block) {
			flags |= endHeaders
		}
		in := append(binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream), block[:n]...)
		ev, _ = b.Next(b.now, in, &b.head, nil)
		if block = block[n:]; len(block) == 0 || ev.Kind == http2.Failed {
			return ev
		}
	}
}

// large is a request with so many fields of so many bytes, which do not go into the table.
func large(fields, size int) []byte {
	field := []byte{0x10, 1, 'x', 127, byte(size-127)&0x7f | 0x80, byte((size - 127) >> 7)}
	return block(append(field, strings.Repeat("v", size)...), fields)
}

// TestTheBytesOfHeadsThatNobodyTakesAreBounded whatever they are refused for: each was received,
// decrypted and looked at.
func TestTheBytesOfHeadsThatNobodyTakesAreBounded(t *testing.T) {
	const most = 512 << 10
	trailers := large(4, 15<<10)[len(plain):]
	for name, c := range map[string]struct {
		block []byte
		flags byte
		begin func(b *bomber) (stream uint32)
		want  http2.Reason
	}{
		"too large":       {block: large(5, 15<<10), want: http2.HeadTooLarge},
		"too many fields": {block: large(150, 300), want: http2.TooManyFields},
		"malformed":       {block: append(large(4, 15<<10), 0x10, 1, 'X', 0), want: http2.UpperCaseName},
		"of a stream that depends on itself": {
			block: large(4, 15<<10), flags: priority, want: http2.SelfDependency,
		},
		"of streams beyond those that may be open": {
			block: large(4, 15<<10), want: http2.TooManyStreams,
			begin: func(b *bomber) uint32 {
				for b.Streams() < http2.DefaultStreams {
					b.sendLarge(b.stream, 0, plain)
					b.stream += 2
				}
				return b.stream
			},
		},
		"of a stream that is closed": {
			block: large(4, 15<<10),
			begin: func(b *bomber) uint32 {
				b.sendLarge(1, 0, plain)
				b.AppendReset(nil, 1, http2.Cancel)
				return 1
			},
		},
		"trailers": {
			block: append(trailers, 0x10, 1, 'X', 0), want: http2.UpperCaseName,
			begin: func(b *bomber) uint32 {
				b.sendLarge(b.stream, 0, plain)
				return b.stream
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBomber(t)
			for taken := 0; taken < 16*most; taken += len(c.block) {
				stream := b.stream
				if c.begin != nil {
					stream = c.begin(b)
				}
				sent := c.block
				if c.flags&priority != 0 {
					sent = append(binary.BigEndian.AppendUint32(nil, stream), 0)
					sent = append(sent, c.block...)
				}
				ev := b.sendLarge(stream, c.flags|endStream, sent)
				b.stream += 2
				if ev.Kind == http2.Failed {
					if ev.Reason != http2.HeadFlood {
						t.Errorf("ended by %v", ev.Reason)
					}
					if taken > most || taken+len(c.block) <= most {
						t.Errorf("ended after %d bytes by %d more, %d are expected", taken, len(c.block), most)
					}
					if got := b.RefusedBytes(); got < taken || got > taken+len(c.block) { // some begin by another head
						t.Errorf("%d bytes were refused, it says %d", taken, got)
					}
					return
				}
				if ev.Reason != c.want {
					t.Fatalf("%v %v, want %v", ev.Kind, ev.Reason, c.want)
				}
				if ev.Answer {
					b.AppendResponse(nil, ev.Stream, &message.Out{Status: 431, Framing: message.FramingLength}, true)
				}
			}
			t.Errorf("%d bytes were taken", 16*most)
		})
	}
}

// TestABlockThatIsTooLargeWasRefused as far as it had come.
func TestABlockThatIsTooLargeWasRefused(t *testing.T) {
	const most = 16 << 10
	b := newBomberTo(t, http2.Options{HeadBytes: most})
	ev := b.sendLarge(b.stream, endStream, large(50, 4<<10))
	if got := b.RefusedBytes(); ev.Reason != http2.BlockTooLarge || got <= most || got > 2*most {
		t.Errorf("%v %v, of %d bytes", ev.Kind, ev.Reason, got)
	}
}

// TestABrowserWhoseCookiesAreTooLargeKeepsItsConnection for each page, though it sends them with
// each of its objects.
func TestABrowserWhoseCookiesAreTooLargeKeepsItsConnection(t *testing.T) {
	const objects, pages, between = 25, 10, 20 * int64(1e9)
	b := newBomberTo(t, http2.Options{HeadBytes: 16 << 10})
	head := large(5, 4<<10)
	for page := range pages {
		for object := range objects {
			ev := b.sendLarge(b.stream, endStream, head)
			b.stream += 2
			if ev.Kind != http2.Refused || ev.Reason != http2.HeadTooLarge {
				t.Fatalf("object %d of page %d: %v %v", object, page, ev.Kind, ev.Reason)
			}
			if ev.Answer {
				b.AppendResponse(nil, ev.Stream, &message.Out{Status: 431, Framing: message.FramingLength}, true)
			}
		}
		b.now += between
	}
}

// TestLargeHeadsThatAreTakenAreNotCounted as those that are refused.
func TestLargeHeadsThatAreTakenAreNotCounted(t *testing.T) {
	b := newBomber(t)
	head := large(4, 15<<10)
	for i := range 100 {
		ev := b.sendLarge(b.stream, endStream, head)
		if ev.Kind != http2.Head {
			t.Fatalf("head %d: %v %v", i, ev.Kind, ev.Reason)
		}
		if n := len(b.head.Arena); n < 60<<10 {
			t.Fatalf("a head of %d bytes", n)
		}
		if ev, _ = b.Next(b.now, nil, &b.head, nil); ev.Kind != http2.End {
			t.Fatal(ev.Kind)
		}
		b.AppendReset(nil, b.stream, http2.Cancel) // it earns nothing
		b.stream += 2
	}
	if b.Strained(b.now) {
		t.Error("the client strains")
	}
}
