//go:build linux

package evloop

import "sync/atomic"

// counts is what a loop carries. Its own thread counts; other loops look at the rest when
// they compare loads, or ask whether the node has room.
type counts struct {
	// owned by the loop
	downs int // client connections
	subs  int // their streams of HTTP/2

	// written by the loop, read by others
	clients     atomic.Int64 // downs
	carried     atomic.Int64 // downs and subs
	descriptors atomic.Int64 // of connections, to clients and endpoints, and of the pipe
	bufferBytes atomic.Int64 // in buffers that connections hold

	// coming are connections that others have posted and the loop has not adopted: they
	// count them up, it counts them down.
	coming atomic.Int64
}

// clientsChanged counts client connections. Others see it at once: many may come in one
// turn, and limits hold for them.
func (c *counts) clientsChanged(by int) {
	c.downs += by
	c.clients.Store(int64(c.downs))
	c.carried.Store(int64(c.downs + c.subs))
}

// publish shows others what changed in a turn.
func (c *counts) publish(bufferBytes int) {
	if used := int64(bufferBytes); used != c.bufferBytes.Load() {
		c.bufferBytes.Store(used)
	}
	if carried := int64(c.downs + c.subs); carried != c.carried.Load() {
		c.carried.Store(carried)
	}
}

// weight is what a loop carries: connections of clients, those that are on their
// way from other loops too, and streams of HTTP/2.
func (c *counts) weight() int64 { return c.carried.Load() + c.coming.Load() }
