//go:build linux

package evloop

import (
	"net/netip"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/http2"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
)

// This file holds clients to limits.faultsPerClient. What ends a connection by its client's
// fault costs the client next to nothing, and the node an accept, often a handshake, and an
// end: thousands of such connections cost more than what came on them. Whoever has them
// again and again is refused before any of that, for as long as it takes to pay.
//
// A fault is what no client does by being slow, by leaving, or by speaking another version:
// only what the codecs refuse counts, and what is no handshake. Who is a client is as for
// limits.connectionsPerClient (clientele_down.go).

// refusesPeer says until when no new connection of a peer is begun, since too many of its client's
// ended by its fault; 0: it is.
func (s *socket) refusesPeer(peer netip.Addr, now int64) (until int64) {
	most := s.listener.Limits.FaultsPerClient
	if most == 0 {
		return 0
	}
	if until = s.binding.clientele.faults.refusedUntil(clientKey(peer), now, most); until > 0 && s.listener.Trusts(peer) {
		return 0
	}
	return until
}

// faultBytes of heads that were refused on a connection of HTTP/2 until it was ended count as another fault:
// they were received, decrypted and decoded, and that is what such a connection costs beside its handshake.
const faultBytes = 64 << 10

// weightOf is as how many faults a connection counts that the codec has ended.
func weightOf(c *http2.Conn) int { return 1 + c.RefusedBytes()/faultBytes }

// fault notes that a connection ends by its client's fault, as heavy as so many.
func (l *Loop) fault(d *downstream, weight int) {
	ls := d.socket.listener
	most := ls.Limits.FaultsPerClient
	if most == 0 || d.faulty || !d.named && ls.Trusts(d.peer.Addr()) {
		return
	}
	d.faulty = true
	f := &d.clientele.faults
	if f.add(clientKey(d.peer.Addr()), d.born, l.now, most, weight) && f.tell(l.now) {
		l.log.Warn("a client is refused for a while: too many of its connections ended by its fault",
			"listener", ls.Name, "client", d.peer.Addr().String(), "faults_per_client", most)
	}
}

// isFault says that a handshake ended by its client's fault. Who speaks another version, does
// not believe our certificate or has none, is only told so.
func isFault(r secure.Result) bool {
	switch r {
	case secure.ResultPlain, secure.ResultNotTLS, secure.ResultHelloTooLarge, secure.ResultMalformed, secure.ResultBadRecord:
		return true
	}
	return false
}

const (
	// muteTime is how long connections gather while some are refused. To wake up for each that
	// comes alone is as much as to accept and to reset it. Others wait so long, too, to be accepted.
	muteTime = int64(time.Millisecond)
	// muteLast is how long that goes on after the last one that was refused.
	muteLast = int64(50 * time.Millisecond)
)

// refuseFaulty ends a connection at once, without a word and without what TCP keeps of one
// that has ended. Its client is refused until then; if it goes on, the kernel keeps it off.
func (l *Loop) refuseFaulty(s *socket, fd int, peer netip.Addr, until int64) {
	l.stats.Add(stats.ClientsAtFault, 1)
	sysReset(fd)
	s.refusedAt = l.now
	// Who shares a socket is woken for others too, and the kernel lets nobody change how
	// (EPOLLEXCLUSIVE); and a filter of ours would be everybody's.
	if s.removed || s.binding.shared {
		return
	}
	if !s.muted && l.poller.Mute(s.fd, uint64(s.index)) == nil {
		l.sockets.mute(s, l.now)
	}
	s.silence.refused(clientKey(peer), l.now, until)
	l.sockets.silence(s)
}

// changeSilence has the kernel keep off those of a socket's clients whom it is to keep off from now
// on. While another process may be about to take the socket over it is left as it is: our filter
// would be that one's too.
func (l *Loop) changeSilence(s *socket) {
	q := &s.silence
	if len(l.engine.changing) > 0 {
		q.due = l.now + silencePause
		return
	}
	l.countDropped(s)
	program := q.change(l.now)
	if program == nil {
		sysUnfilter(s.fd)
		q.took(false, l.now)
		return
	}
	if err := sysFilter(s.fd, program); err != nil {
		l.log.Debug("clients are refused one by one: a socket takes no filter", "listener", s.listener.Name, "error", err)
		l.endSilence(s)
		q.denied = true
		return
	}
	q.took(true, l.now)
}

// endSilence hears all of a socket's clients again.
func (l *Loop) endSilence(s *socket) {
	q := &s.silence
	q.clients, q.due = nil, 0
	l.sockets.forgetSilent(s)
	if q.on {
		l.countDropped(s)
		sysUnfilter(s.fd)
		q.took(false, l.now)
	}
}

// countDropped counts what the kernel dropped on a socket since we looked last, if it has a filter.
func (l *Loop) countDropped(s *socket) {
	dropped := sysDropped(s.fd)
	if s.silence.on {
		l.stats.Add(stats.PacketsDropped, uint64(dropped-s.silence.dropped))
	}
	s.silence.dropped = dropped
}

// hearAgain ends the gathering of connections on a socket where nobody is refused any more.
func (l *Loop) hearAgain(s *socket) {
	if s.muted && l.now-s.refusedAt > muteLast && l.poller.Unmute(s.fd, uint64(s.index)) == nil {
		l.sockets.unmute(s)
	}
}
