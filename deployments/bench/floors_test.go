package main

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/floorstest"
)

// The proxies are measured from outside, as built programs.
func TestImportsGoStrictlyDown(t *testing.T) {
	floorstest.Check(t, floorstest.Module{
		Name: "deployments/bench",
		Packages: []floorstest.Package{
			{Dir: "figure", Floor: 0, Pure: true},
			{Dir: "procfs", Floor: 0},
			{Dir: "loadgen", Floor: 0},
			{Dir: "rivals", Floor: 0},
			{Dir: "goproxy", Floor: 0},
			{Dir: "report", Floor: 1, Pure: true},
			{Dir: "measure", Floor: 2},
			{Dir: ".", Floor: 3},
		},
	})
}
