//go:build linux

package evloop

import (
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"golang.org/x/sys/unix"
)

// This file takes connections from a loop's listening sockets, and takes sockets up and
// lets go of them.

const (
	// acceptBurst bounds the accepts of one socket in one turn.
	acceptBurst = 64
	// acceptPause is how long a loop without descriptors waits before it tries
	// again: the edge that told of the connection is gone for good.
	acceptPause = int64(10 * time.Millisecond)
)

// accept takes connections, a bounded number.
func (l *Loop) accept(s *socket) {
	l.look() // how a client is met is decided here
	for range acceptBurst {
		fd, peer, errno := sysAccept(s.fd)
		switch errno {
		case 0:
		case unix.EAGAIN:
			s.readable = false
			l.hearAgain(s)
			return
		case unix.ECONNABORTED, unix.EPROTO, unix.EPERM:
			continue // the client left already, or a firewall refused
		case unix.EINVAL: // it listens no more: whoever shared it took it away
			s.readable = false
			l.sharedEnded(s)
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			l.exhausted(s)
			return
		default:
			s.readable = false
			l.log.Error("accept failed", "listener", s.listener.Name, "error", error(errno))
			return
		}
		if l.answerProbe(fd, peer) {
			continue
		}
		if until := s.refusesPeer(peer.Addr(), l.now); until > 0 {
			l.refuseFaulty(s, fd, peer.Addr(), until)
			continue
		}
		if l.now < s.silence.lasts {
			sysUnfilter(fd) // each has that of its socket; none is kept for as long as a connection lasts
		}
		if limit := s.listener.Limits.Connections; limit > 0 && s.binding.clientele.open.Load() >= int64(limit) {
			l.stats.Add(stats.ClientsOverLimit, 1)
			refuse(fd, s)
			continue
		}
		clients := l.engine.clients()
		l.shedder.crowded = l.shedder.crowded || l.engine.crowds(clients)
		if clients >= l.engine.ceilings.clients.Load() {
			l.stats.Add(stats.ClientsOverCeiling, 1)
			refuse(fd, s)
			continue
		}
		if other := l.lighter(); other != nil && !s.removed && l.giveAway(other, s, fd, peer) {
			continue
		}
		l.newDown(s, fd, peer)
	}
}

// refuse answers, where requests are spoken, and closes. What the client has sent by now is
// read first: a socket that is closed with bytes unread sends a reset, which may overtake the
// answer.
func refuse(fd int, s *socket) {
	var request [4 << 10]byte
	_, _ = unix.Read(fd, request[:])
	if answer := refusalOf(s.listener); answer != "" {
		_, _ = unix.Write(fd, []byte(answer))
	}
	unix.Shutdown(fd, unix.SHUT_WR)
	unix.Close(fd)
}

// exhausted answers one client by means of the reserve descriptor and pauses
// accepting: without a new edge the timer must ask again.
func (l *Loop) exhausted(s *socket) {
	l.stats.Add(stats.AcceptExhausted, 1)
	l.sockets.reserve.close()
	if fd, peer, errno := sysAccept(s.fd); errno == 0 && !l.answerProbe(fd, peer) {
		refuse(fd, s)
	}
	if err := l.sockets.reserve.open(); err != nil {
		l.log.Warn("no descriptor to spare", "error", err)
	}
	s.readable = false
	l.sockets.acceptAgain = l.now + acceptPause
}

// addSocket takes a listening socket under the loop's care. Removed ones in its way, which
// the kernel would give a part of its connections, are closed. So is one that cannot be watched:
// nothing would tell of its clients, who go to those of other loops then.
func (l *Loop) addSocket(s *socket) error {
	l.closeRemoved(func(old *socket) bool { return overlap(old.binding.address, s.binding.address) })
	l.sockets.add(s)
	add := l.poller.Add
	if s.binding.shared {
		add = l.poller.AddShared
	}
	err := add(s.fd, uint64(s.index))
	if err != nil {
		l.sockets.drop(s)
		s.close()
	}
	return err
}

// removeSocket ends a listening socket. No new connection begins on it; those that had
// begun are taken for tcpHandshakeTime, since closing would reset them; then it is closed.
// It is closed at once
//
//   - where the loop ends,
//   - where another socket covers its address, which is to get what the filter would drop,
//   - where it is shared: a filter would outlast our copy.
func (l *Loop) removeSocket(address netip.AddrPort) {
	for s := l.sockets.take(address, l.now); s != nil; s = l.sockets.take(address, l.now) {
		l.endSilence(s)
		waits := !s.binding.shared && !l.draining && !l.sockets.cover(address)
		if !s.binding.shared {
			if err := stopSYN(s.fd); err != nil {
				l.log.Debug("listener closes without a filter", "listener", s.listener.Name, "error", err)
				waits = false
			}
		}
		if waits {
			l.sockets.keep(s, l.now+tcpHandshakeTime)
		} else {
			l.closeSocket(s)
		}
		l.sweep.add(s, dutyEnd, len(l.links))
	}
}

// closeSocket closes a removed socket behind what the kernel has completed on it.
func (l *Loop) closeSocket(s *socket) {
	for s.readable = true; s.readable; {
		l.accept(s)
	}
	if s.binding.shared {
		l.forgetShared(s)
	}
	s.close()
}

// closeRemoved closes those of the removed sockets that are due.
func (l *Loop) closeRemoved(due func(*socket) bool) {
	for _, s := range l.sockets.takeDue(due) {
		l.closeSocket(s)
	}
}

// releaseSocket leaves an address to another process that has its sockets too:
// what waits in their queues is for that one to take, so nothing is filtered or
// accepted here, and our copies are closed.
func (l *Loop) releaseSocket(address netip.AddrPort) {
	for s := l.sockets.take(address, l.now); s != nil; s = l.sockets.take(address, l.now) {
		l.endSilence(s)
		// A socket that stays open elsewhere stays in an epoll set too.
		if err := l.poller.Remove(s.fd); err != nil {
			l.log.Debug("listener is released", "listener", s.listener.Name, "error", err)
		}
		s.close()
		l.sweep.add(s, dutyEnd, len(l.links))
	}
}
