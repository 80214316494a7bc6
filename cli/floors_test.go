// Package floors_test holds the table of this module's packages: the floor that
// each stands on and what it may import.
package floors_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/floorstest"
)

func TestImportsGoStrictlyDown(t *testing.T) {
	const main = "cmd/proxyctl"
	floorstest.Check(t, floorstest.Module{
		Name: "cli",
		Packages: []floorstest.Package{
			{Dir: "textdiff", Floor: 0, Pure: true},
			{Dir: "controlplanetest", Floor: 0},
			{Dir: "client", Floor: 1},
			{Dir: "demo", Floor: 2},
			{Dir: main, Floor: 3},
		},
		// proxyctl speaks REST and knows nothing of what is behind it.
		Others: []string{"proto/..."},
		Bans: []floorstest.Ban{
			{
				Import: "go.etcd.io/...",
				Reason: "only the control plane touches etcd",
			},
			{
				Import: "google.golang.org/grpc/...",
				Reason: "proxyctl speaks REST",
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
