package compile

import (
	"slices"
	"testing"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

func TestAPoolsLeastMustBePossible(t *testing.T) {
	base := mustCompile(t, nil, treeOf(t, ground))
	for _, c := range []struct{ pool, want string }{
		{`pool: {minIdle: 300}`, `Upstream/u: spec.pool.minIdle: got 300, expected at most maxIdle, 256`},
		{`pool: {minIdle: 8, maxConnections: 4}`, `Upstream/u: spec.pool.minIdle: got 8, expected at most maxConnections, 4`},
		{`pool: {minIdle: 1, idleTimeout: 500ms}`, `Upstream/u: spec.pool.idleTimeout: got 500ms, expected 1s or more beside minIdle`},
		{`pool: {minIdle: 1, maxLifetime: 20ms}`, `Upstream/u: spec.pool.maxLifetime: got 20ms, expected 1s or more beside minIdle`},
		{`pool: {minIdle: 1}, proxyProtocol: V2`, `Upstream/u: spec.pool.minIdle: got 1, expected no proxyProtocol in the same upstream: its connections belong to clients`},
	} {
		_, problems := Compile(nil, base, with(t, base.Tree, `{kind: Upstream, name: u, spec: {endpoints: [{address: "10.0.0.9:80"}], `+c.pool+`}}`), table.Version{})
		if got := lines(problems); !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.pool, got, c.want)
		}
	}
	r := mustCompile(t, base, with(t, base.Tree, `{kind: Upstream, name: u, spec: {endpoints: [{address: "10.0.0.9:80"}], pool: {minIdle: 4, maxIdle: 4, idleTimeout: 1s}}}`))
	if got := r.Table.Upstream("u").Pool.MinIdle; got != 4 {
		t.Errorf("minIdle is %d", got)
	}
}
