package compile

import (
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/table"
)

// TestAnUpstreamThatDiffersInOneFieldIsAnotherOne: one that is taken for the same
// keeps its old settings.
func TestAnUpstreamThatDiffersInOneFieldIsAnotherOne(t *testing.T) {
	before := mustCompile(t, nil, treeOf(t, `{kind: Upstream, name: u, spec: {endpoints: [{address: "10.0.0.1:80"}]}}`))
	for spec, same := range map[string]bool{
		`endpoints: [{address: "10.0.0.1:80"}]`:                                            true,
		`protocol: HTTP1, endpoints: [{address: "10.0.0.1:80"}]`:                           true,
		`protocol: HTTP2, endpoints: [{address: "10.0.0.1:80"}]`:                           false,
		`proxyProtocol: V1, endpoints: [{address: "10.0.0.1:80"}]`:                         false,
		`timeouts: {connect: 1s}, endpoints: [{address: "10.0.0.1:80"}]`:                   false,
		`pool: {maxIdle: 1}, endpoints: [{address: "10.0.0.1:80"}]`:                        false,
		`tcpUserTimeout: 1s, endpoints: [{address: "10.0.0.1:80"}]`:                        false,
		`loadBalancing: {algorithm: LEAST_REQUEST}, endpoints: [{address: "10.0.0.1:80"}]`: false,
	} {
		after := mustCompile(t, before, treeOf(t, `{kind: Upstream, name: u, spec: {`+spec+`}}`))
		if (before.Table.Upstream("u") == after.Table.Upstream("u")) != same {
			t.Errorf("%s: same: %v", spec, !same)
		}
	}
	before = mustCompile(t, nil, treeOf(t, `{kind: Upstream, name: u, spec: {protocol: HTTP2, ping: {interval: 30s}, endpoints: [{address: "10.0.0.1:80"}]}}`))
	if got, want := before.Table.Upstream("u").Ping, (table.Ping{Interval: 30 * time.Second, Timeout: 15 * time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	after := mustCompile(t, before, treeOf(t, `{kind: Upstream, name: u, spec: {protocol: HTTP2, ping: {interval: 31s}, endpoints: [{address: "10.0.0.1:80"}]}}`))
	if before.Table.Upstream("u") == after.Table.Upstream("u") {
		t.Error("another ping is the same upstream")
	}
}
