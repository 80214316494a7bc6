//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
)

// deadline is when expireDown has something to do.
func (d *downstream) deadline() int64 {
	t := &d.socket.listener.Timeouts
	switch {
	case d.stream != nil:
		return d.stream.x.NextDeadline()
	case d.phase == phaseMux && !d.closing:
		return d.muxDeadline()
	case d.phase == phaseShake && !d.closing:
		return d.since + int64(t.RequestHead)
	case d.phase == phaseLinger && d.link.muted:
		return d.since // each tick has something to do
	case d.phase == phaseLinger, d.closing && d.answered:
		return d.since + lingerTime
	case d.closing:
		return d.since + int64(t.StreamIdle)
	case d.headStart > 0:
		return d.headStart + int64(t.RequestHead)
	case d.link.out.len() > 0: // of the answer before
		return d.since + int64(t.StreamIdle)
	case d.socket.removed:
		return max(d.since, d.socket.removedAt) + lastChance
	case d.phase == phaseProxy:
		return d.proxyDeadline()
	case d.phase == phaseHello:
		return d.since + int64(t.RequestHead)
	}
	return d.since + int64(t.Idle)
}

// outlives is when a client's connection has been used for long enough, by the
// settings now in force; 0: it has no such time. One of HTTP/1.1 ends behind the next
// answer from then on, which says so: between requests nobody could tell whether the
// next one was taken (RFC 9112 section 9.6).
func (d *downstream) outlives() int64 {
	most := d.socket.listener.Timeouts.MaxLifetime
	if most == 0 {
		return 0
	}
	return d.born + spreadLife(most, d.chance)
}

func (d *downstream) outlived(now int64) bool {
	at := d.outlives()
	return at > 0 && now >= at
}

// outdated says that the listener has begun, or ceased, to speak HTTP or TLS since the
// client came, asks for other certificates, or has begun to pass them on: its connection
// ends after the answer at hand.
func (d *downstream) outdated() bool {
	now := d.socket.listener.TLS
	switch {
	case !d.socket.listener.Protocol.CarriesRoutes(): // one without requests does not ask
		return true
	case (now != nil) != (d.tls != nil):
		return true
	case now == d.tls:
		return false
	}
	had, has := d.tls.ClientAuth, now.ClientAuth
	if had == nil || has == nil {
		return had != has
	}
	// What is not passed on any more, shown leaves out; what was not to be passed on was not kept.
	return had.Required != has.Required || had.Class != has.Class || has.Forward && !had.Forward
}

// expireDown does what is due; false: nothing is yet.
func (l *Loop) expireDown(d *downstream) bool {
	if due := d.deadline(); l.now < due {
		l.wheel.arm(d.link, due)
		return false
	}
	switch {
	case d.phase == phaseMux && !d.closing:
		l.expireMux(d)
	case d.stream != nil:
		k := d.link
		l.stepDeadline(d.stream)
		if !k.closed {
			l.wheel.arm(k, d.deadline())
		}
	case d.phase == phaseHead && d.headStart > 0 && !d.closing:
		l.failHead(d, exchange.Failure{Reason: exchange.ReasonRequestHeadTimeout}, d.link.in.bytes())
	case d.phase == phaseShake && !d.closing:
		l.countHandshake(d.link, secure.ResultTimeout)
		l.closeDown(d)
	case d.phase == phaseProxy:
		l.proxyCutShort(d, timedOut)
	case d.phase == phaseHello:
		l.helloCutShort(d, timedOut)
	case d.phase == phaseLinger && l.now < d.since+lingerTime:
		l.lingerMuted(d)
	case d.phase == phaseLinger && l.readsOn(d):
	case d.link.out.len() > 0:
		l.abortDown(d) // an end would look like that of the answer
	default:
		l.closeDown(d)
	}
	return true
}
