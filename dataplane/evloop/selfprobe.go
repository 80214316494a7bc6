//go:build linux

package evloop

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/proxyfleet/proxyfleet/proto/wakeup"
	"golang.org/x/sys/unix"
)

// Would a client be served? A node asks itself, as one: it connects to the addresses
// where it listens, and the loop that takes the connection answers by itself, before
// anything else is done with it. So an answer says that the kernel takes
// connections there, and that a loop takes them from it: no endpoint and no
// configuration has a part in it, since what makes every node unfit is no reason to
// move a virtual IP.
//
// Nothing that a client can send makes a connection a probe. It is one if it comes
// from the very address and port that the prober has bound and waits with: no other
// connection to us has them at that time, and from outside nobody has an address of
// our own. It counts for no limit, and stands in no log and no metric. So it is
// answered by a node that is full, too: such a node serves, and says 503 to those who
// are too many, who would follow the virtual IP to the next node.
//
// Probed is where the node itself listens, whatever is spoken there; not the
// sockets of virtual IPs, in whose queues their clients' load is. The kernel spreads
// probes over the loops as it does clients; that each loop turns is what Pulse says.

const (
	// probeEvery is between two rounds, and between two attempts.
	probeEvery = 250 * time.Millisecond
	// probeTimeout is what an answer may take: a loop that is late by so much has
	// been found by Pulse before.
	probeTimeout = time.Second
	// probeAttempts must fail, in a row, before an address does.
	probeAttempts = 2
	// probesARound bounds the addresses of one round; the next goes on behind them.
	probesARound = 16
)

// probeMark makes the connection from an address and port a probe, and is its
// answer.
type probeMark struct {
	from   netip.AddrPort
	answer [16]byte
}

// errUnasked says that a probe could not be sent, which says nothing of who would
// have answered.
var errUnasked = errors.New("not asked")

// SelfProbe is a node that asks itself. A fault is an address's: it ends when that
// address answers, or when the node no longer listens there.
type SelfProbe struct {
	engine *Engine
	// immutable
	probed func() (all []listening, settled bool)
	probe  func(context.Context, netip.AddrPort) error
	// Run's
	next    int            // where the next round begins
	suspect netip.AddrPort // who has the fault

	fault atomic.Pointer[string] // nil: none
}

// SelfProbe returns one for the engine, which has one at a time. It starts nothing.
func (e *Engine) SelfProbe() *SelfProbe {
	return &SelfProbe{engine: e, probed: e.probed, probe: e.probe}
}

// Fault is why a client would not be served; empty: it would, as far as is known.
func (p *SelfProbe) Fault() string {
	if f := p.fault.Load(); f != nil {
		return *f
	}
	return ""
}

// Run probes until ctx ends.
func (p *SelfProbe) Run(ctx context.Context) error {
	for wakeup.After(ctx, probeEvery) {
		p.take(p.round(ctx))
	}
	return nil
}

// take goes by what a round found.
func (p *SelfProbe) take(v verdict) {
	before := p.Fault()
	switch v.standing {
	case unknown:
	case faultless:
		p.suspect = netip.AddrPort{}
		if before != "" {
			p.fault.Store(nil)
			p.engine.log.Info("self-probe: this node answers again", "before", before)
		}
	case faulty:
		p.suspect = v.at
		if v.fault != before {
			p.fault.Store(&v.fault)
			p.engine.log.Warn("self-probe: this node does not serve; others hold virtual IPs rather", "problem", v.fault)
		}
	}
}

// standing is what a round says of the node.
type standing uint8

const (
	unknown   standing = iota // it is as it was before
	faultless                 // nobody who was asked failed, and who had the fault answers, or is gone
	faulty
)

// verdict is a round's.
type verdict struct {
	standing standing
	// where it is faulty
	at    netip.AddrPort
	fault string
}

// round probes addresses until one fails.
func (p *SelfProbe) round(ctx context.Context) verdict {
	all, settled := p.probed()
	if !settled {
		return verdict{}
	}
	found := verdict{standing: faultless}
	for _, at := range p.pick(all) {
		err := p.ask(ctx, at)
		switch {
		case ctx.Err() != nil:
			return verdict{}
		case err == nil:
		case errors.Is(err, errUnasked):
			if p.suspects(at) { // which others' answers do not clear
				found = verdict{}
			}
		default:
			if now, settled := p.probed(); !settled || !slices.Contains(now, at) {
				return verdict{} // it may have failed because it is being let go
			}
			return verdict{standing: faulty, at: at.address, fault: err.Error()}
		}
	}
	return found
}

// pick is whom a round asks: who has the fault first, then who was not asked for
// the longest time.
func (p *SelfProbe) pick(all []listening) []listening {
	n := min(len(all), probesARound)
	picked := make([]listening, 0, n)
	if i := slices.IndexFunc(all, p.suspects); i >= 0 {
		picked = append(picked, all[i])
	}
	for len(picked) < n {
		p.next = (p.next + 1) % len(all)
		if at := all[p.next]; !p.suspects(at) {
			picked = append(picked, at)
		}
	}
	return picked
}

func (p *SelfProbe) suspects(at listening) bool { return at.address == p.suspect }

// ask probes one address, more than once if it must.
func (p *SelfProbe) ask(ctx context.Context, at listening) (err error) {
	for i := range probeAttempts {
		if i > 0 && !wakeup.After(ctx, probeEvery) {
			return err
		}
		if err = p.probe(ctx, at.address); err == nil || errors.Is(err, errUnasked) {
			return err
		}
	}
	return fmt.Errorf("listener %q: %s: %w", at.listener, at.address, err)
}

// listening is where a listener listens on this node.
type listening struct {
	listener string
	address  netip.AddrPort
}

// probed is where the engine listens for itself, in order. While that changes, or
// another process is about to take over, it is not settled, and nowhere is probed:
// whoever else has the sockets takes a probe for a client.
func (e *Engine) probed() (all []listening, settled bool) {
	if len(e.changing) > 0 {
		return nil, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.released {
		return nil, false
	}
	t := e.live.Load()
	for address, b := range e.bindings {
		if b.shared || address.Addr().Is6() && address.Addr().IsLinkLocalUnicast() {
			continue // a thousand virtual IPs are not looked for in each listener, four times a second
		}
		if ls := e.config.listenerAt(t, address); ls != nil {
			all = append(all, listening{ls.Name, address})
		}
	}
	slices.SortFunc(all, func(a, b listening) int { return a.address.Compare(b.address) })
	return all, true
}

// probe asks at one address once.
func (e *Engine) probe(ctx context.Context, to netip.AddrPort) error {
	switch host := to.Addr(); {
	case host == netip.IPv6Unspecified(), host == netip.IPv4Unspecified(): // "::" takes IPv4 too
		to = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), to.Port())
	}
	mark := &probeMark{}
	_, _ = rand.Read(mark.answer[:])
	defer e.probing.Store(nil)
	asked := false
	dialer := net.Dialer{Timeout: probeTimeout, KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) (err error) {
		if failed := c.Control(func(fd uintptr) { mark.from, err = bindTo(int(fd), to.Addr()) }); failed != nil {
			return failed
		}
		if err == nil {
			e.probing.Store(mark)
			asked = true
		}
		return err
	}}
	conn, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		if !asked {
			return fmt.Errorf("%w: %w", errUnasked, err)
		}
		return plain(err)
	}
	defer conn.Close()
	// It ends by a reset: nothing of it is left to wait for its time.
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.SetDeadline(time.Now().Add(probeTimeout))
	var got [len(mark.answer)]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil {
		return plain(err)
	}
	if !bytes.Equal(got[:], mark.answer[:]) {
		return errors.New("somebody else answers")
	}
	return nil
}

// bindTo has a socket begin where it will go to, and says which port that is.
func bindTo(fd int, address netip.Addr) (netip.AddrPort, error) {
	if err := unix.Bind(fd, sockaddrOf(netip.AddrPortFrom(address, 0))); err != nil {
		return netip.AddrPort{}, err
	}
	from := sysLocal(fd)
	if !from.IsValid() {
		return from, unix.EBADF
	}
	return from, nil
}

// plain is an error without the addresses, which change with every probe.
func plain(err error) error {
	var errno syscall.Errno
	var late net.Error
	switch {
	case errors.As(err, &errno):
		return errno
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("no answer within %s", probeTimeout)
	}
	return err
}

// answerProbe answers a connection if it is a probe.
func (l *Loop) answerProbe(fd int, peer netip.AddrPort) bool {
	mark := l.engine.probing.Load()
	if mark == nil || mark.from != peer {
		return false
	}
	_, _ = sysWrite(fd, mark.answer[:])
	unix.Close(fd)
	return true
}
