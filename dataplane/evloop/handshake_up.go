//go:build linux

package evloop

import (
	"github.com/proxyfleet/proxyfleet/dataplane/exchange"
	"github.com/proxyfleet/proxyfleet/dataplane/secure"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// meetBy brings a pool to how its upstream is met: by which version of HTTP, and with
// which TLS. What there is was opened otherwise: it goes, or ends behind the requests that
// it has. Both are set before anything goes, since what goes may make room for whoever waits.
func (l *Loop) meetBy(p *endpointPool, http2 bool, t *table.UpstreamTLS) {
	if p.http2 == http2 && (t == nil && p.client == nil || t != nil && p.client != nil && p.client.Of() == t) {
		return
	}
	p.http2, p.client = http2, nil
	if t != nil {
		protocol := secure.HTTP1
		if http2 {
			protocol = secure.HTTP2
		}
		p.client = secure.NewClient(t, p.to.AddrPort.Addr().String(), protocol)
	}
	l.reviewWaiting(p)
	l.retireMuxes(p)
	for l.closeIdle(p) {
	}
}

// beginShakeUp shakes hands with an endpoint that was connected to.
func (l *Loop) beginShakeUp(c *upstreamConn) {
	// One that only keeps the pool warm must not push out another handshake.
	unasked := c.stream == nil && c.pool.Queued() == 0
	if unasked && !l.shaker.room() || !l.admitShake(c.link) {
		l.countHandshake(c.link, secure.ResultRefused)
		l.shakeFailed(c, secure.ResultRefused.String())
		return
	}
	l.shaker.begin(c.link, c.client.Conn(), false) // it verifies the endpoint's certificates
}

// shakenUp goes on when the handshake with an endpoint is over.
func (l *Loop) shakenUp(c *upstreamConn, conn *secure.Conn) {
	if conn.Failed() != nil {
		l.log.Debug("handshake with an endpoint failed", "endpoint", c.pool.address, "error", conn.Failed())
		l.shakeFailed(c, conn.Result().String())
		return
	}
	if c.http2 && conn.State().NegotiatedProtocol != secure.HTTP2 {
		l.shakeFailed(c, "no_http2")
		return
	}
	l.opened(c)
}

// shakeFailed ends a connection whose handshake failed. Nothing of the request
// was sent.
func (l *Loop) shakeFailed(c *upstreamConn, why string) {
	s, p := c.stream, c.pool
	l.stats.ConnectFailed(p.series, false)
	if s == nil {
		l.warmLost(c)
		return
	}
	l.closeUp(c)
	s.up = nil
	l.step(s, exchange.Event{Kind: exchange.EventAcquireFailed, Failure: exchange.Failure{
		Reason: exchange.ReasonUpstreamTLS, Retry: exchange.RetryNothingSent, Detail: why,
	}})
	l.serveWaiting(p)
}
