package measure

import (
	"github.com/proxyfleet/proxyfleet/deployments/bench/loadgen"
	"github.com/proxyfleet/proxyfleet/deployments/bench/report"
	"github.com/proxyfleet/proxyfleet/deployments/bench/rivals"
)

// plan is a scenario in which contenders are compared in rounds.
type plan struct {
	load       shape
	contenders []contender
	// fixed: there are rounds at a fixed rate too.
	fixed bool
}

const (
	fewConnections  = 64
	someConnections = 1000
	manyConnections = 5000

	// As many handshakes as keep a core busy whatever the client waits for.
	handshakesAtOnce = 16
	downloadsAtOnce  = 4
	bodyBytes        = 100 << 20
)

// few is the load of most scenarios.
func few() shape { return shape{connections: fewConnections} }

// tenThousand are the routes of everything on.
func tenThousand() rivals.Layout { return rivals.Layout{Hosts: 1000, RoutesPerHost: 10} }

// plain is a proxy without rules; pace: it counts for the fixed rate.
func plain(n rivals.Name, pace bool) contender {
	return contender{row: string(n), name: n, pace: pace}
}

// everything is proxyfleet with all that it has.
func everything(row string) contender {
	return contender{
		row: row, name: rivals.Proxyfleet, log: true, header: true, timeouts: true,
		layout: tenThousand(), load: tenThousand(), pace: true,
	}
}

// plans are the scenarios that are compared in rounds, by their ids.
func plans(idle int) map[string]plan {
	goProxies := func(connections int) plan {
		return plan{load: shape{connections: connections}, fixed: true, contenders: []contender{
			plain(rivals.Proxyfleet, true), plain(rivals.Nginx, true), plain(rivals.Caddy, false),
			plain(rivals.GoTuned, true), plain(rivals.GoDefault, true),
		}}
	}
	return map[string]plan{
		report.Bare: {load: few(), fixed: true, contenders: []contender{
			plain(rivals.Proxyfleet, true), plain(rivals.Nginx, true), plain(rivals.HAProxy, true), plain(rivals.Caddy, false),
		}},
		report.LikeForLike: likeForLike(rivals.Proxyfleet, rivals.Nginx, rivals.HAProxy, rivals.Caddy),
		report.TLS:         overTLS(likeForLike(three()...)),
		report.HTTP2:       http2(shape{connections: 8, streams: 32}, true),
		report.Handshakes:  handshakes(),
		report.Connections: connections(),
		report.Bodies:      bodies(),
		report.BodiesTLS:   overTLS(bodies()),
		report.HTTP2Wide:   http2(shape{connections: fewConnections, streams: 1}, false),
		report.Everything: {load: few(), fixed: true, contenders: []contender{
			everything(string(rivals.Proxyfleet)),
			{row: string(rivals.Nginx), name: rivals.Nginx, load: tenThousand(), pace: true},
		}},
		report.GoProxies64: goProxies(fewConnections),
		report.GoProxies1k: goProxies(someConnections),
		report.GoProxies5k: goProxies(manyConnections),
		report.Routes:      routes(),
		report.Features:    features(),
		report.IdleAndBusy: {load: few(), fixed: true, contenders: []contender{
			{row: report.RowNoIdle, name: rivals.Proxyfleet, pace: true},
			{row: report.RowWithIdle, name: rivals.Proxyfleet, pace: true, idle: idle},
		}},
	}
}

func overTLS(p plan) plan {
	for i := range p.contenders {
		p.contenders[i].tls = true
	}
	return p
}

// three are those that are compared beyond plaintext and short answers.
func three() []rivals.Name { return []rivals.Name{rivals.Proxyfleet, rivals.Nginx, rivals.HAProxy} }

// http2 is HTTP/2 over TLS; both: and towards the backend, where that exists.
func http2(load shape, both bool) plan {
	p := plan{load: load}
	for _, n := range three() {
		p.contenders = append(p.contenders, contender{row: string(n), name: n, http2: true})
	}
	if both {
		for _, n := range []rivals.Name{rivals.Proxyfleet, rivals.HAProxy} {
			p.contenders = append(p.contenders, contender{
				row: report.Way(string(n), report.WayHTTP2), name: n, http2: true, behind: behaviour{http2: true},
			})
		}
	}
	return overTLS(p)
}

// add adds all of three, used in one way.
func (p *plan) add(way string, c contender) {
	for _, n := range three() {
		c.row, c.name = report.Way(string(n), way), n
		p.contenders = append(p.contenders, c)
	}
}

// handshakes are whole and resumed ones.
func handshakes() plan {
	p := plan{load: shape{connections: handshakesAtOnce}}
	p.add(report.WayFull, contender{visit: loadgen.Full})
	p.add(report.WayResumed, contender{visit: loadgen.Resumed})
	return overTLS(p)
}

// connections last for one request, or are kept.
func connections() plan {
	p := plan{load: few()}
	p.add(report.WayShort, contender{short: true})
	p.add(report.WayKept, contender{})
	return p
}

// bodies are long answers.
func bodies() plan {
	p := plan{load: shape{connections: downloadsAtOnce}}
	for _, n := range three() {
		p.contenders = append(p.contenders, contender{
			row: string(n), name: n, visit: loadgen.Download, bodies: true, behind: behaviour{size: bodyBytes, bodies: true},
		})
	}
	return p
}

func likeForLike(names ...rivals.Name) plan {
	hosts := rivals.Layout{Hosts: 1000}
	p := plan{load: few(), fixed: true}
	for _, n := range names {
		p.contenders = append(p.contenders, contender{
			row: string(n), name: n, log: true, header: true, layout: hosts, load: hosts, pace: n != rivals.Caddy,
		})
	}
	return p
}

func routes() plan {
	p := plan{load: few()}
	for _, row := range []struct {
		name   string
		layout rivals.Layout
	}{
		{report.RowTenRoutes, rivals.Layout{Hosts: 1, RoutesPerHost: 10}},
		{report.RowOneHost, rivals.Layout{Hosts: 1, RoutesPerHost: 100_000}},
		{report.RowManyHosts, rivals.Layout{Hosts: 10_000, RoutesPerHost: 10}},
	} {
		p.contenders = append(p.contenders, contender{row: row.name, name: rivals.Proxyfleet, layout: row.layout, load: row.layout})
	}
	return p
}

func features() plan {
	feature := func(row string, set func(*contender)) contender {
		c := contender{row: row, name: rivals.Proxyfleet}
		set(&c)
		return c
	}
	return plan{load: few(), contenders: []contender{
		feature(report.RowBare, func(*contender) {}),
		feature(report.RowLog, func(c *contender) { c.log = true }),
		feature(report.RowHeader, func(c *contender) { c.header = true }),
		feature(report.RowHosts, func(c *contender) {
			c.layout = rivals.Layout{Hosts: 1000}
			c.load = c.layout
		}),
		feature(report.RowTimeouts, func(c *contender) { c.timeouts = true }),
		feature(report.RowTLS, func(c *contender) { c.tls = true }),
		feature(report.RowHTTP2, func(c *contender) { c.tls, c.http2 = true, true }),
		everything(report.RowAll),
	}}
}
