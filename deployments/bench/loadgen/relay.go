package loadgen

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// RelayOptions say where a relay stands.
type RelayOptions struct {
	Listen, Target netip.AddrPort
	// Delay is what each byte waits in each direction.
	Delay time.Duration
	// Control ends the relay by its end.
	Control io.Reader
}

const (
	relayChunk = 16 << 10
	// relayChunks bounds what one direction of a connection holds; whoever sends more
	// waits.
	relayChunks = 256
)

// RunRelay stands for a distance: it passes on every byte after a time, and ends
// with o.Control.
func RunRelay(o RelayOptions) error {
	l, err := net.Listen("tcp", o.Listen.String())
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, o.Control)
		l.Close()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			return nil // told to end; connections end with the process
		}
		go o.join(c)
	}
}

// join passes both directions of a connection until one side ends it.
func (o RelayOptions) join(near net.Conn) {
	defer near.Close()
	far, err := net.DialTimeout("tcp", o.Target.String(), holdTimeout)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	for _, d := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			o.pass(d[0], d[1])
			near.Close()
			far.Close()
		})
	}
	both.Wait()
}

// pass passes one direction.
func (o RelayOptions) pass(from, to net.Conn) {
	type chunk struct {
		due   time.Time
		bytes []byte
	}
	chunks := make(chan chunk, relayChunks)
	go func() {
		defer close(chunks)
		for {
			b := make([]byte, relayChunk)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			chunks <- chunk{time.Now().Add(o.Delay), b[:n]}
		}
	}()
	defer func() { // the reader ends once its connection is closed
		from.Close()
		for range chunks {
		}
	}()
	for c := range chunks {
		if wait := time.Until(c.due); wait > 0 {
			time.Sleep(wait)
		}
		if _, err := to.Write(c.bytes); err != nil {
			return
		}
	}
}
