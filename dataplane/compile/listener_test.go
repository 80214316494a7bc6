package compile

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestAListenersLimitsAreInTheTable(t *testing.T) {
	r := mustCompile(t, nil, treeOf(t, `
kind: Listener
name: l
spec:
  port: 8080
  protocol: HTTP
  limits: {header: 8KiB, headerFields: 50, body: 1MiB, connections: 1000, connectionsPerClient: 20, faultsPerClient: 100}
---
kind: Listener
name: standard
spec: {port: 8081, protocol: HTTP}
`))
	for name, want := range map[string]table.Limits{
		"l":        {HeaderBytes: 8 << 10, HeaderFields: 50, BodyBytes: 1 << 20, Connections: 1000, ConnectionsPerClient: 20, FaultsPerClient: 100},
		"standard": {HeaderBytes: 64 << 10, HeaderFields: 100, BodyBytes: -1},
	} {
		if got := r.Table.Listener(name).Limits; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}
