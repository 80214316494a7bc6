package poll

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxEvents bounds what one Wait returns: enough that a busy loop rarely asks
// twice, few enough that timers and mailboxes are looked at in between.
const maxEvents = 256

// edges is what every descriptor is registered for, for life.
const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | uint32(unix.EPOLLET&0xffffffff)

// busy is from how many events on more are expected to wait by the time that
// they are served. Then it pays to ask without telling the scheduler first; with
// fewer, most of the time, that would be one call for nothing.
const busy = 4

// Event is one edge. More than one of its parts may hold.
type Event struct {
	Token    uint64
	Readable bool // bytes, an end of stream, or a connection to accept
	Writable bool
	ReadHup  bool // the peer will send no more
	Hup      bool // both directions are over, or an error is pending
}

// Poller is one epoll instance with its wake-up.
type Poller struct {
	// owned by the polling goroutine
	epfd   int
	raw    [maxEvents]unix.EpollEvent
	events [maxEvents]Event
	last   int  // how many events the last wait had
	quiet  bool // events do not come often

	// shared
	wakefd int
	awake  atomic.Bool // a wake-up is written and not yet seen
	// mu is held by each Wake that writes, against Close: whom it wakes may interrupt it, and it
	// keeps mu for long.
	mu     sync.RWMutex
	closed bool // guarded by mu
}

// wakeToken marks the eventfd; no caller's token is this.
const wakeToken = ^uint64(0)

// New opens a poller.
func New() (*Poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("poll: epoll_create1: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("poll: eventfd: %w", err)
	}
	p := &Poller{epfd: epfd, wakefd: wakefd}
	if err := p.add(wakefd, wakeToken, unix.EPOLLIN|uint32(unix.EPOLLET&0xffffffff)); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close closes the poller's own descriptors. Wake does nothing from then on.
func (p *Poller) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	unix.Close(p.wakefd)
	unix.Close(p.epfd)
}

// Add registers fd for life. Tokens come back in events; ^uint64(0) is taken.
func (p *Poller) Add(fd int, token uint64) error {
	return p.add(fd, token, edges)
}

// Mute has the arrival of bytes make no edges of fd, which was added with token, until
// Unmute. The peer's half-close and what there is to write still do.
func (p *Poller) Mute(fd int, token uint64) error {
	return p.change(fd, token, edges&^unix.EPOLLIN)
}

// Unmute ends Mute. What has come meanwhile, or is not read yet, makes an edge at once.
func (p *Poller) Unmute(fd int, token uint64) error {
	return p.change(fd, token, edges)
}

func (p *Poller) change(fd int, token uint64, interest uint32) error {
	ev := unix.EpollEvent{Events: interest}
	*tokenOf(&ev) = token
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_MOD, fd, &ev); err != nil {
		return fmt.Errorf("poll: epoll_ctl mod: %w", err)
	}
	return nil
}

// AddShared registers a listening socket that other pollers have too: an edge
// wakes one of those that wait, not all.
func (p *Poller) AddShared(fd int, token uint64) error {
	return p.add(fd, token, unix.EPOLLIN|unix.EPOLLEXCLUSIVE|uint32(unix.EPOLLET&0xffffffff))
}

func (p *Poller) add(fd int, token uint64, interest uint32) error {
	ev := unix.EpollEvent{Events: interest}
	*tokenOf(&ev) = token
	if err := unix.EpollCtl(p.epfd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("poll: epoll_ctl add: %w", err)
	}
	return nil
}

// tokenOf is the kernel's 64 bit data word, which the Go type splits in two.
// It is 4-byte aligned on amd64, where the struct is packed.
func tokenOf(ev *unix.EpollEvent) *uint64 {
	return (*uint64)(unsafe.Pointer(&ev.Fd))
}

// Wait returns the edges that are there, or waits for the first one, at most
// timeout (negative: without end). The result is valid until the next Wait. A
// Wake ends the wait, with or without events.
func (p *Poller) Wait(timeout time.Duration) ([]Event, error) {
	n, errno := 0, unix.Errno(0)
	if timeout == 0 || p.last >= busy {
		n, errno = p.wait(0)
	}
	if n == 0 && errno == 0 && timeout != 0 {
		n, errno = p.sleep(timeout)
	}
	if errno == unix.EINTR {
		return nil, nil
	}
	if errno != 0 {
		return nil, fmt.Errorf("poll: epoll_pwait: %w", errno)
	}
	p.last = n
	out := p.events[:0]
	for i := range n {
		raw := &p.raw[i]
		token := *tokenOf(raw)
		if token == wakeToken {
			// The counter is never read: each write makes an edge, and 2^64 are not to
			// come. A Wake from here on makes the next one; what those before it tell of
			// is served by the turn that begins now.
			p.awake.Store(false)
			continue
		}
		out = append(out, Event{
			Token:    token,
			Readable: raw.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			Writable: raw.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			ReadHup:  raw.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0,
			Hup:      raw.Events&(unix.EPOLLHUP|unix.EPOLLERR) != 0,
		})
	}
	return out, nil
}

// hidden bounds a sleep that the scheduler does not know of; see sleep. It is
// reached only if the scheduler's signals are switched off.
const hidden = 100 * time.Millisecond

// sleep waits for events; docs/adr/0010 has the measurements.
//
// A sleep that the scheduler knows of costs more than itself: its monitor wakes
// up to take the processor away, and is woken again when the loop comes back,
// which at 5,000 requests a second was a sixth of what a proxied request cost.
// While events come often the processor is not worth taking, so the call is
// hidden. What the scheduler takes for a loop that computes for 10 ms on end it
// interrupts by a signal, as it does to stop the world: then the next call is one
// that lends the processor to others, and they all are until events come often.
func (p *Poller) sleep(timeout time.Duration) (int, unix.Errno) {
	if !p.quiet {
		n, errno := p.wait(milliseconds(timeout, hidden))
		p.quiet = n == 0
		return n, errno
	}
	start := time.Now()
	n, errno := p.block(milliseconds(timeout, -1))
	p.quiet = time.Since(start) > often
	return n, errno
}

// often is how soon events come that let sleeps be hidden.
const often = time.Millisecond

// milliseconds is a timeout for epoll, rounded up and at most limit; a negative
// one is without end.
func milliseconds(timeout, limit time.Duration) int {
	if timeout < 0 || limit > 0 && timeout > limit {
		timeout = limit
	}
	if timeout < 0 {
		return -1
	}
	return int((timeout + time.Millisecond - 1) / time.Millisecond)
}

// wait asks for at most ms milliseconds, and the scheduler does not know.
func (p *Poller) wait(ms int) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.raw[0])), maxEvents, uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// block is the one ordinary blocking call of a loop.
func (p *Poller) block(ms int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epfd),
		uintptr(unsafe.Pointer(&p.raw[0])), maxEvents, uintptr(ms), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Wake ends a wait of the poller. Wake-ups that nobody has seen yet are one.
func (p *Poller) Wake() {
	if p.awake.Swap(true) {
		return
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed { // the number may be somebody else's by now
		return
	}
	one := [8]byte{0: 1}
	// The counter cannot overflow with one write outstanding.
	_, _ = unix.Write(p.wakefd, one[:])
}
