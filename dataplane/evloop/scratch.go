//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/message"
)

// scratch is the memory of a loop that nobody owns: what is in it is valid within one step
// of one exchange, or one read of one link.
type scratch struct {
	// Of one read of a link, or one turn.
	readBuf   []byte // what fill read
	cipherBuf []byte // what was read of links with TLS, before it is decrypted
	wire      []byte // what is written to them, encrypted
	events    int    // how many more the turn may cause
	refused   int    // of its frames of HTTP/2, or what they were for

	// Of one step.
	env   exchange.Env
	head  message.Head // of HTTP/1.1
	out   message.Out
	frame []byte // what is being encoded
	// The trailers of an event, and the lines of them that pass.
	trailers []message.Field
	lines    []byte

	// The same for HTTP/2.
	muxHead    message.Head // whose arena the codec writes into
	spareBlock http2.Spare  // which all codecs share
}

func newScratch() scratch {
	return scratch{readBuf: make([]byte, readSize), cipherBuf: make([]byte, cipherSize)}
}

// trailersUp is what goes up of the trailers of this event.
func (x *scratch) trailersUp(s *stream) []byte { return x.passTrailers(s, true) }

// trailersDown is what goes down of the trailers of this event.
func (x *scratch) trailersDown(s *stream) []byte { return x.passTrailers(s, false) }

// passTrailers is those lines of the event's trailers that its exchange lets pass, as they
// came: each reaches to where the next one begins.
func (x *scratch) passTrailers(s *stream, up bool) []byte {
	if len(s.trailers) == 0 {
		return nil
	}
	x.trailers = http1.AppendTrailers(x.trailers[:0], s.trailers)
	x.lines = x.lines[:0]
	for i := range x.trailers {
		f := &x.trailers[i]
		name, passes := s.trailers[f.Name.Start:f.Name.End], false
		if up {
			passes = s.x.TrailerGoesUp(name, f.ID)
		} else {
			passes = s.x.TrailerGoesDown(name, f.ID)
		}
		if !passes {
			continue
		}
		end := uint32(len(s.trailers))
		if i+1 < len(x.trailers) {
			end = x.trailers[i+1].Name.Start
		}
		x.lines = append(x.lines, s.trailers[f.Name.Start:end]...)
	}
	return x.lines
}
