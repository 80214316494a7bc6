// Package floors_test holds the table of this module's packages: the floor that
// each stands on and what it may import.
package floors_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/floorstest"
)

func TestImportsGoStrictlyDown(t *testing.T) {
	const main = "cmd/proxy-controlplane"
	floorstest.Check(t, floorstest.Module{
		Name: "controlplane",
		Packages: []floorstest.Package{
			{Dir: "bell", Floor: 2},
			{Dir: "embedded", Floor: 2},
			{Dir: "embedded/embeddedtest", Floor: 3},
			{Dir: "store", Floor: 2},
			{Dir: "session", Floor: 2, Pure: true},
			{Dir: "roster", Floor: 2, Pure: true},
			{Dir: "publish", Floor: 3},
			{Dir: "tickets", Floor: 3},
			{Dir: "nodes", Floor: 4},
			{Dir: "nodes/nodestest", Floor: 3},
			{Dir: "rest", Floor: 4},
			{Dir: "replicas", Floor: 5},
			{Dir: "stream", Floor: 5},
			{Dir: main, Floor: 6},
		},
		// Of the node only what is pure: candidates are compiled by the very
		// package that nodes run, and requests find their routes as there.
		Others: []string{"proto/...", "dataplane/compile", "dataplane/explain", "dataplane/table"},
		Bans: []floorstest.Ban{
			{
				Import: "go.etcd.io/...", Only: []string{"store", "embedded", "embedded/embeddedtest", main},
				Reason: "etcd is behind the store; main only dials it",
			},
			{
				Import: "go.etcd.io/etcd/server/...", Only: []string{"embedded"},
				Reason: "nothing else knows that etcd may run in this process",
			},
			{
				Import: "github.com/gin-gonic/...", Only: []string{"rest"},
				Reason: "gin serves the REST interface and nothing else",
			},
			{
				Import: "google.golang.org/grpc/...", Only: []string{"stream", "store", main},
				Reason: "the Sync stream is the only service; the store reads the status codes of etcd's errors",
			},
			{
				Import: "github.com/spf13/...", Only: []string{main},
				Reason: "only main knows flags",
			},
			{
				Import: "C",
				Reason: "one static binary, built for six platforms from any of them",
			},
		},
	})
}
