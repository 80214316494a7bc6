package compile

import (
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestRetriesAreAsSaid(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, ground+`
---
{kind: Route, name: shop, spec: {hosts: [a.test], retry: {attempts: 3, on: [CONNECT_FAILURE, STATUS_503]}, forward: [{upstream: api-v1}]}}
---
{kind: Route, name: all, spec: {hosts: [b.test], timeouts: {perTry: 2s}, retry: {on: [RESET, TIMEOUT, REFUSED_STREAM, STATUS_5XX, STATUS_429], backoff: 1s, budget: 12.5%, buffer: 1KiB, nonIdempotent: true}, forward: [{upstream: api-v1}]}}
---
{kind: Route, name: redirect, spec: {hosts: [r.test], redirect: {host: b.test}}}
`))
	byDefault := table.Retry{
		Attempts: 2, On: table.RetryOnConnectFailure | table.RetryOnReset | table.RetryOnRefusedStream,
		Backoff: 25 * time.Millisecond, Budget: 20_00, Buffer: 64 << 10,
	}
	if got := r.Route("base").Retry; *got != byDefault {
		t.Errorf("by default %+v", got)
	}
	shop := byDefault
	shop.Attempts, shop.On = 3, table.RetryOnConnectFailure
	shop.Statuses.Add(503)
	if got := r.Route("shop").Retry; *got != shop || got.Statuses.Has(502) || got.Statuses.Has(200) || !got.Statuses.Has(503) {
		t.Errorf("shop: %+v", got)
	}
	all := table.Retry{
		Attempts: 2, On: table.RetryOnReset | table.RetryOnTimeout | table.RetryOnRefusedStream, NonIdempotent: true,
		PerTry: 2 * time.Second, Backoff: time.Second, Budget: 12_50, Buffer: 1 << 10,
	}
	for status := uint16(500); status < 600; status++ {
		all.Statuses.Add(status)
	}
	all.Statuses.Add(429)
	if got := r.Route("all").Retry; *got != all {
		t.Errorf("all: %+v", got)
	}
	if r.Route("redirect").Retry != nil {
		t.Error("a redirect is tried again")
	}
}
