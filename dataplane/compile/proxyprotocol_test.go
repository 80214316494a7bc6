package compile

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestPROXYHeadersAreAsSaid(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, ground+`
---
{kind: Listener, name: a, spec: {port: 1, protocol: HTTP, trustedProxies: [10.0.0.0/8], proxyProtocol: OPTIONAL}}
---
{kind: Listener, name: b, spec: {port: 2, protocol: HTTP, trustedProxies: [10.0.0.0/8], proxyProtocol: REQUIRED}}
---
{kind: Upstream, name: v1, spec: {endpoints: [{address: "10.0.0.1:80"}], proxyProtocol: V1}}
---
{kind: Upstream, name: v2, spec: {endpoints: [{address: "10.0.0.1:80"}], proxyProtocol: V2}}
`))
	for name, want := range map[string]table.ProxyProtocol{"web": table.ProxyOff, "a": table.ProxyOptional, "b": table.ProxyRequired} {
		if got := r.Table.Listener(name).ProxyProtocol; got != want {
			t.Errorf("listener %s: %d", name, got)
		}
	}
	for name, want := range map[string]table.ProxyHeader{"api-v1": table.ProxyHeaderNone, "v1": table.ProxyHeaderV1, "v2": table.ProxyHeaderV2} {
		if got := r.Table.Upstream(name).ProxyProtocol; got != want {
			t.Errorf("upstream %s: %d", name, got)
		}
	}
}
