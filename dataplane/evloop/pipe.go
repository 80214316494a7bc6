//go:build linux

package evloop

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is room for splicePiece in small pieces: a pipe counts in slots of a
	// page, of which a segment off the network takes one, whatever is in it. It is
	// also the most that every user may ask for (pipe-max-size). Whoever has too many pipes
	// gets less, and copies: with few slots each call moves little.
	pipeSize = 1 << 20
	// pipePause is how long a loop that got no pipe copies before it asks again.
	pipePause = int64(time.Second)
	// pipeDescriptors is what a pipe counts for among them.
	pipeDescriptors = 2
)

// pipe is what bytes go through that are spliced. It is closed at first, and whenever it is
// not known to be empty.
type pipe struct {
	descriptors *atomic.Int64 // immutable; of the loop, which a pipe counts in

	open   bool
	r, w   int
	inside int // bytes, as far as is known

	never bool  // the kernel does not splice
	again int64 // when another one may be asked for
}

// settle closes a pipe that is not known to be empty.
func (p *pipe) settle() {
	if p.inside != 0 {
		p.close()
	}
}

// mayBegin says that another one may be asked for.
func (p *pipe) mayBegin(now int64) bool { return !p.never && now >= p.again }

// begin opens one; false: there is none to be had.
func (p *pipe) begin(now int64) bool {
	p.again = now + pipePause
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return false
	}
	if _, err := unix.FcntlInt(uintptr(ends[1]), unix.F_SETPIPE_SZ, pipeSize); err != nil {
		unix.Close(ends[0])
		unix.Close(ends[1])
		return false
	}
	p.r, p.w, p.inside, p.open = ends[0], ends[1], 0, true
	p.descriptors.Add(pipeDescriptors)
	return true
}

// close closes a pipe, with whatever is in it.
func (p *pipe) close() {
	if !p.open {
		return
	}
	unix.Close(p.r)
	unix.Close(p.w)
	p.open, p.inside = false, 0
	p.again = 0
	p.descriptors.Add(-pipeDescriptors)
}
