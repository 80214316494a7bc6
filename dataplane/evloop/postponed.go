//go:build linux

package evloop

// postponed are the attempts of requests whose frames are being handled.
type postponed struct {
	subs []*sub
	on   bool // frames of a turn are being handled
	// doomed: the request at hand, of HTTP/1.1, turns out to be malformed by what came with it,
	// and ends when its exchange has begun.
	doomed bool
}

// add puts the attempt of a request off until the frames of the turn are
// handled: whoever resets what he began by the next frame must not make us open and close
// a connection to an endpoint each time (CVE-2023-44487). What is counted at the
// endpoint is counted already.
func (ps *postponed) add(s *stream) bool {
	switch {
	case ps.doomed && s.sub == nil:
		return true
	case !ps.on || s.sub == nil:
		return false
	}
	s.sub.waits = true
	ps.subs = append(ps.subs, s.sub)
	return true
}
