package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"golang.org/x/sys/unix"
)

const (
	// engineTimeout bounds what the engine may take for some sockets, and followAtOnce how
	// many these are: a loop takes up each within a microsecond or two, and its clients wait
	// meanwhile.
	engineTimeout = 5 * time.Second
	followAtOnce  = 64
	// complainEvery is between two words on sockets that are not served.
	complainEvery = time.Second
)

var errNoDescriptor = errors.New("this process has no descriptor left")

// shared is a socket of the agent's of which this process has a copy.
type shared struct {
	address netip.AddrPort
	fd      int
	until   int64
	ended   bool // this process ended it
}

// take takes over a socket. One that came without a descriptor, since this process has as
// many as it may, nobody here can end.
func (l *life) take(m *fleetv1.AgentSocket, fd int) error {
	address, err := netip.ParseAddrPort(m.GetAddress())
	if err != nil {
		if fd != noFD {
			unix.Close(fd)
		}
		return fmt.Errorf("%w: socket: %w", errMessage, err)
	}
	if fd == noFD {
		l.complain(address, errNoDescriptor)
		return l.say(&fleetv1.ToAgent{Message: &fleetv1.ToAgent_Refused{Refused: &fleetv1.AgentRefused{Number: m.GetNumber()}}})
	}
	l.mu.Lock()
	l.copies[m.GetNumber()] = &shared{address: address, fd: fd, until: m.GetUntil()}
	l.latest[address] = m.GetNumber()
	l.owe(address)
	l.mu.Unlock()
	l.sooner.Send()
	return nil
}

// owe has the engine follow what became of an address. It may be busy with a table, and
// nothing waits for it: by what comes meanwhile leases live. mu is held.
func (l *life) owe(address netip.AddrPort) {
	l.owed[address] = true
	l.owing.Send()
}

// drop lets go of a socket that the agent closed.
func (l *life) drop(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.copies[number]; c != nil {
		l.forget(number, c)
	}
}

// forget ends a copy. mu is held.
func (l *life) forget(number uint64, c *shared) {
	endListening(c.fd)
	unix.Close(c.fd)
	delete(l.copies, number)
	if l.latest[c.address] == number {
		delete(l.latest, c.address)
		l.owe(c.address)
	}
}

// dropAll is the end of the agent: nobody listens from here on.
func (l *life) dropAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.copies {
		endListening(c.fd)
	}
	for number, c := range l.copies {
		l.forget(number, c)
	}
}

// work has the engine follow, apart from what must not wait for it.
func (l *life) work() {
	for range l.owing {
		l.mu.Lock()
		owed := slices.Collect(maps.Keys(l.owed))
		clear(l.owed)
		l.mu.Unlock()
		for some := range slices.Chunk(owed, followAtOnce) {
			l.follow(some)
		}
	}
}

// complain tells of a socket that is not served. What keeps one from it keeps many, again
// and again: it is told once in complainEvery.
func (l *life) complain(address netip.AddrPort, err error) {
	l.mu.Lock()
	again := time.Since(l.complained) < complainEvery
	if !again {
		l.complained = time.Now()
	}
	l.mu.Unlock()
	if !again {
		l.s.log.Error("virtual IP: socket", "address", address, "error", err)
	}
}

// follow has the engine take connections from the sockets that some addresses have now, or
// from none.
func (l *life) follow(addresses []netip.AddrPort) {
	ctx, cancel := context.WithTimeout(context.Background(), engineTimeout)
	defer cancel()
	var gone []netip.AddrPort
	sockets := map[netip.AddrPort]int{}
	for _, address := range addresses {
		switch fd, err := l.copyOf(address); {
		case err != nil:
			l.refuse(address, err)
		case fd == noFD:
			gone = append(gone, address)
		default:
			sockets[address] = fd
		}
	}
	if len(gone) > 0 {
		if err := l.s.c.Engine.Unshare(ctx, gone...); err != nil {
			l.complain(gone[0], err)
		}
	}
	if len(sockets) == 0 {
		return
	}
	for address, err := range l.s.c.Engine.Share(ctx, sockets) {
		l.refuse(address, err)
	}
	for _, fd := range sockets {
		unix.Close(fd)
	}
}

// refuse ends the socket of an address that the engine takes no connections from: who
// cannot serve must not hold. The agent sees that it listens no more, tries again, and
// after a while leaves that virtual IP to others.
func (l *life) refuse(address netip.AddrPort, why error) {
	l.complain(address, why)
	l.mu.Lock()
	defer l.mu.Unlock()
	if number, ok := l.latest[address]; ok {
		c := l.copies[number]
		c.ended = true
		endListening(c.fd)
	}
}

// copyOf is a descriptor, the caller's, of the socket that an address has now, or noFD:
// its own may be closed at any moment.
func (l *life) copyOf(address netip.AddrPort) (fd int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number, ok := l.latest[address]
	if !ok {
		return noFD, nil
	}
	return copyFD(l.copies[number].fd)
}
