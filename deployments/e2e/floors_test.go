package e2e_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/floorstest"
)

// The binaries are tested from outside: by their flags, files, sockets and the
// REST interface, as users meet them.
func TestImportsGoStrictlyDown(t *testing.T) {
	floorstest.Check(t, floorstest.Module{
		Name:     "deployments/e2e",
		Packages: []floorstest.Package{{Dir: "attack", Floor: 8}, {Dir: "bystander", Floor: 8}, {Dir: "fleettest", Floor: 8}, {Dir: "load", Floor: 8}, {Dir: ".", Floor: 9}},
		Others:   []string{"proto/...", "cli/client"},
	})
}
