//go:build linux

package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// bindPause is between two attempts at an address that somebody else has:
	// the holder before lets go within milliseconds.
	bindPause = 10 * time.Millisecond
	// bindFor is how long they are repeated; benchFor how long this node leaves the
	// virtual IP to others after that. bindLater is between attempts at what a node lacks
	// that holds the rest.
	bindFor   = 2 * time.Second
	benchFor  = 5 * time.Second
	bindLater = time.Second
	// leftFor is how long others may take to try in turn, each for bindFor.
	leftFor = time.Minute
	// lookEvery is how often sockets are looked at: the main process ends them when
	// the agent falls silent.
	lookEvery = int64(50 * time.Millisecond)
	// openAtOnce is how many sockets a turn opens: each takes some 20 µs, and a turn must
	// not keep what is held from being renewed.
	openAtOnce = 64
	// findEvery is how often it is looked for an address that is held, and findAtOnce for how
	// many in a turn: a socket listens on when its address is taken off the machine, and nobody
	// reaches it.
	findEvery  = int64(time.Second)
	findAtOnce = 64
)

// holding is a virtual IP that this node holds, with its sockets.
type holding struct {
	term  uint64
	since time.Time
	told  int64 // until when, as the main process was told last

	wanted  *fleetv1.AgentVip // of which serve made the sockets last
	sockets []listening
	missing bool  // sockets that nothing is known to be in the way of
	ending  int64 // since when each look finds that the main process ended some; 0: the last did not
	failing int64 // since when a bind fails; 0: none does
	again   int64 // no bind before
	inUse   bool  // somebody else listens at lacks
	look    int64 // when to look at the sockets next
	find    int64 // when to look for the address next, at a look; 0: at once
	problem string
	lacks   netip.AddrPort // the first that cannot be had
}

// openFunc opens a socket that listens.
type openFunc func(address netip.AddrPort, backlog int) (fd int, err error)

// env is what holdings open sockets with, and tell of them.
type env struct {
	// immutable
	clock func() int64
	open  openFunc
	here  func(netip.Addr) bool // what is sent there comes to this machine; nil: it does
	out   *outbox

	// owned by run
	number uint64 // of the last socket
	left   int    // how many more this turn may open
	finds  int    // for how many more addresses it may look
}

// listening is one socket.
type listening struct {
	number  uint64
	address netip.AddrPort
	fd      int
}

// serves says that all that is wanted listens.
func (h *holding) serves() bool { return h.opened() && h.ending == 0 }

// opened says that nothing is left to open.
func (h *holding) opened() bool { return h.failing == 0 && !h.missing }

// servesSome says that some of it does.
func (h *holding) servesSome() bool { return h.serves() || len(h.sockets) > 0 }

// due is when serve has something to do.
func (h *holding) due() int64 {
	if h.opened() {
		return h.look
	}
	return min(h.look, h.again)
}

// serve makes the sockets those of the ports, as far as they can be had, until then. What
// a turn may not open any more is opened by the next ones.
func (h *holding) serve(w *fleetv1.AgentVip, now, until int64, e *env) {
	same := h.wanted == w
	h.wanted = w
	if now >= h.look {
		h.look = now - now%lookEvery + lookEvery // all at one time
		if h.close(e, func(l listening) bool { return !listens(l.fd) }) == 0 {
			h.ending = 0
		} else if same = false; h.ending == 0 {
			h.ending = now
		}
		if !h.found(w.GetAddress(), now, e) {
			h.end(e)
			h.fail(now, errNotHere)
			h.again = h.look
			return
		}
	}
	if same && (h.opened() || now < h.again) {
		return
	}
	ip, err := netip.ParseAddr(w.GetAddress())
	if err != nil {
		h.fail(now, fmt.Errorf("address %q: %w", w.GetAddress(), err))
		return
	}
	wanted := map[netip.AddrPort]int{}
	for _, p := range w.GetPorts() {
		wanted[netip.AddrPortFrom(ip, uint16(p.GetPort()))] = int(p.GetBacklog()) //nolint:gosec // a port
	}
	h.close(e, func(l listening) bool {
		_, is := wanted[l.address]
		return !is
	})
	for _, l := range h.sockets {
		delete(wanted, l.address)
	}
	if len(wanted) > 0 && now < h.again {
		return
	}
	h.missing = false
	var failed error
	for _, address := range slices.SortedFunc(maps.Keys(wanted), netip.AddrPort.Compare) {
		err := h.open(address, wanted[address], until, e)
		switch {
		case errors.Is(err, errNotNow):
			h.missing = true
		case err != nil && failed == nil:
			h.lacks, failed = address, fmt.Errorf("%s: %w", address, err)
		}
		if errors.Is(err, errLate) || errors.Is(err, errNotNow) {
			break
		}
	}
	switch {
	case failed != nil:
		h.fail(now, failed)
	case h.missing:
		h.again = now
		if e.left > 0 { // it waits for the main process
			h.again += int64(bindPause)
		}
	default:
		h.failing, h.problem, h.inUse = 0, "", false
	}
}

// found says that the address is one of this machine's, as far as that was looked for.
func (h *holding) found(address string, now int64, e *env) bool {
	ip, err := netip.ParseAddr(address)
	if err != nil || e.here == nil || now < h.find || e.finds <= 0 && h.find > 0 {
		return true
	}
	e.finds--
	if !e.here(ip) {
		h.find = 0
		return false
	}
	h.find = now + findEvery
	return true
}

var (
	// errNotHere says that others may have the address, and this machine has not.
	errNotHere = errors.New("it is not an address of this machine")
	// errLate says that the time is up.
	errLate = errors.New("the grant ran out meanwhile")
	// errNotNow says that others were opened, and the rest is for later.
	errNotNow = errors.New("enough are on their way to the main process")
)

// open opens one socket and passes a copy on, unless the time is up: the process
// may have been stopped at any point before.
func (h *holding) open(address netip.AddrPort, backlog int, until int64, e *env) error {
	if e.clock() >= until {
		return errLate
	}
	if e.left <= 0 || !e.out.room() {
		return errNotNow
	}
	fd, err := e.open(address, backlog)
	if err != nil {
		return err
	}
	if e.clock() >= until {
		endListening(fd)
		closeFD(fd)
		return errLate
	}
	e.number++
	l := listening{number: e.number, address: address, fd: fd}
	if err := e.out.socket(l, until); err != nil {
		endListening(fd)
		closeFD(fd)
		return err
	}
	h.sockets = append(h.sockets, l)
	e.left--
	return nil
}

func (h *holding) fail(now int64, err error) {
	if h.failing == 0 {
		h.failing = now
	}
	h.problem, h.inUse = err.Error(), errors.Is(err, errInUse)
	h.again = now + int64(bindPause)
	if now-h.failing >= int64(bindFor) {
		h.again = now + int64(bindLater)
	}
	if !errors.Is(err, errInUse) && !errors.Is(err, errLate) {
		h.failing = min(h.failing, now-int64(bindFor)) // waiting does not help
	}
}

// obstacle is why this node cannot have an address now, whoever else has it: that it is
// not an address of this machine, or not allowed. Whoever asks for it all the same takes
// it from one who can, if it is the more preferred one.
func (e *env) obstacle(w *fleetv1.AgentVip) error {
	ip, err := netip.ParseAddr(w.GetAddress())
	switch {
	case err != nil:
		return err
	case e.here != nil && !e.here(ip):
		return errNotHere
	}
	for _, p := range w.GetPorts() {
		fd, err := bind(netip.AddrPortFrom(ip, uint16(p.GetPort()))) //nolint:gosec // a port
		if err == nil {
			closeFD(fd)
		} else if !errors.Is(err, errInUse) {
			return err
		}
	}
	return nil
}

// why says why this node does not serve all of it.
func (h *holding) why() string {
	if h.failing == 0 && h.ending != 0 {
		return "its main process takes no connections there"
	}
	return h.problem
}

// hopeless says that another node should try. left: others have tried, since this node
// could not have all of it before. Then they could not either, and a part of it that goes
// on being served is better than one that each node has for two seconds.
func (h *holding) hopeless(now int64, left bool) bool {
	tried := h.failing != 0 && now-h.failing >= int64(bindFor) || h.ending != 0 && now-h.ending >= int64(bindFor)
	return tried && (!left || !h.servesSome())
}

// close ends the sockets that are chosen, and counts them: first listening, for every copy.
func (h *holding) close(e *env, chosen func(listening) bool) (number int) {
	before := len(h.sockets)
	h.sockets = slices.DeleteFunc(h.sockets, func(l listening) bool {
		if !chosen(l) {
			return false
		}
		endListening(l.fd)
		closeFD(l.fd)
		e.out.closed(l.number)
		return true
	})
	return before - len(h.sockets)
}

// end lets go.
func (h *holding) end(e *env) { h.close(e, func(listening) bool { return true }) }
