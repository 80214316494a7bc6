package gossip

import (
	"errors"
	"net"
	"sync"
	"time"
)

// What bounds streams, which are read before it is known who sends: some kilobytes are one for
// each node of a fleet, each PushPull or when it joins.
const (
	// maxStreams is how many there are at a time, and maxStream how long one is: 1,024 members
	// that say all that they may take a quarter.
	maxStreams = 64
	maxStream  = 4 << 20
	// streamsEach is how many are taken each second, and after a quiet time at once: 1,024
	// nodes that start at one time all have theirs within two or three seconds. One that says
	// nothing sensible takes some 50 µs.
	streamsEach = 500
)

var errStreamTooLong = errors.New("gossip: a stream is too long")

// streams counts those that are there.
type streams struct {
	mu    sync.Mutex
	open  int
	ready float64 // how many more may come now
	at    time.Time
}

// admit lets one more in, which is given back by leave.
func (s *streams) admit(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at.IsZero() {
		s.ready = streamsEach
	} else {
		s.ready = min(streamsEach, s.ready+streamsEach*max(0, now.Sub(s.at).Seconds()))
	}
	if s.at = now; s.open == maxStreams || s.ready < 1 {
		return false
	}
	s.ready--
	s.open++
	return true
}

func (s *streams) leave() {
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
}

// stream is one that was admitted. memberlist gives it a deadline, and closes it.
type stream struct {
	net.Conn
	leave func() // once

	left int // bytes that it may have; who reads owns it
}

func (s *streams) stream(c net.Conn) *stream {
	return &stream{Conn: c, leave: sync.OnceFunc(s.leave), left: maxStream}
}

// Read implements io.Reader.
func (s *stream) Read(b []byte) (int, error) {
	if s.left == 0 {
		return 0, errStreamTooLong
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

// Close implements io.Closer.
func (s *stream) Close() error {
	s.leave()
	return s.Conn.Close()
}
