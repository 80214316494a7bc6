//go:build linux

package evloop

import (
	"math"
	"net/netip"

	"github.com/proxyfleet/proxyfleet/dataplane/http1"
	"github.com/proxyfleet/proxyfleet/dataplane/stats"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// This file holds clients to limits.connectionsPerClient. Connections are counted
// only while their listener has it, so that nobody else pays for it; one that gets
// it counts those that are open.
//
// A trusted proxy is not a client: behind one connection of it are many. Where it
// says by a PROXY header whom a connection is for, that client is counted, once the
// header is there; a header that names nobody (a health check of the proxy's own)
// leaves the connection uncounted.

// enter counts a new connection, if it is to be counted.
func (s *socket) enter(peer netip.Addr) (counted, ok bool) {
	most := s.listener.Limits.ConnectionsPerClient
	if most == 0 || s.listener.Trusts(peer) {
		return false, true
	}
	ok = s.binding.clientele.enter(peer, most)
	return ok, ok
}

// enterNamed counts a connection for the client that its PROXY header names. False:
// it was refused.
func (l *Loop) enterNamed(d *downstream) bool {
	d.named = true
	limits := &d.socket.listener.Limits
	switch {
	case d.clientele.faults.refuses(clientKey(d.peer.Addr()), l.now, limits.FaultsPerClient):
		// The proxy that opened the connection is told: a reset would look like our fault.
		l.stats.Add(stats.ClientsAtFault, 1)
	case limits.ConnectionsPerClient == 0 || d.counted:
		return true
	default:
		if d.counted = d.clientele.enter(d.peer.Addr(), limits.ConnectionsPerClient); d.counted {
			return true
		}
		l.stats.Add(stats.ClientsOverShare, 1)
	}
	l.sendWire(d.link, []byte(refusalOf(d.socket.listener)))
	d.refused = true
	l.closeDownAfter(d)
	return false
}

// leaveClientele counts the end of a connection.
func (d *downstream) leaveClientele() {
	if d.counted {
		d.counted = false
		d.clientele.leave(d.peer.Addr())
	}
}

// newDuties are those for the connections of a listener whose limits have changed.
func newDuties(before, now table.Limits) duties {
	switch {
	case before == now:
		return 0
	case before.ConnectionsPerClient == 0 && now.ConnectionsPerClient > 0:
		return dutyLimits | dutyCount
	}
	return dutyLimits
}

// setLimits holds a connection to what its listener's limits are now.
func setLimits(d *downstream) {
	now := d.socket.listener.Limits
	if d.mux != nil {
		d.mux.conn.SetLimits(now.HeaderBytes, now.HeaderFields)
		return
	}
	// Without effect where the codec is not begun yet.
	d.reader.SetLimits(http1.Limits{HeadBytes: now.HeaderBytes, Fields: now.HeaderFields})
}

// countKept counts a connection with those of the listener that its address has now; and
// with those of its client, where it was not since the listener had no limit for them. It
// stays, also where there are too many.
func countKept(d *downstream) {
	s := d.socket
	if now := s.binding.clientele; now != d.clientele {
		d.clientele.open.Add(-1)
		now.open.Add(1)
		if d.counted {
			d.clientele.leave(d.peer.Addr())
			now.enter(d.peer.Addr(), math.MaxInt)
		}
		d.clientele = now
	}
	if s.listener.Limits.ConnectionsPerClient == 0 || d.counted || d.phase == phaseProxy || !d.named && s.listener.Trusts(d.peer.Addr()) {
		return
	}
	d.counted = d.clientele.enter(d.peer.Addr(), math.MaxInt)
}

// limitsChange says that a listener that stays has other limits: every loop has to
// hold what it has to them, also those that have nothing else to do.
func limitsChange(before, now *table.Table) bool {
	for i := range now.Listeners {
		ls := &now.Listeners[i]
		if had := before.Listener(ls.Name); had != nil && had.Limits != ls.Limits {
			return true
		}
	}
	return false
}

// refusalOf is what a client gets that a listener cannot take. There is no exchange, so
// there is no line in the log: it is only counted.
func refusalOf(ls *table.Listener) string {
	switch {
	case !ls.Protocol.CarriesRoutes():
		return ""
	case ls.TLS != nil:
		return alertRefused
	}
	return "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"
}
