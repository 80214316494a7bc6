// Package floors_test holds the table of this module's packages: the floor that
// each stands on and what it may import.
package floors_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/floorstest"
)

func TestImportsGoStrictlyDown(t *testing.T) {
	floorstest.Check(t, floorstest.Module{
		Name: "proto",
		Packages: []floorstest.Package{
			{Dir: "certificate", Floor: 0, Pure: true},
			{Dir: "certificate/certificatetest", Floor: 1},
			{Dir: "durable", Floor: 0},
			{Dir: "fleet/v1", Floor: 0, Generated: true},
			{Dir: "floorstest", Floor: 0},
			{Dir: "input", Floor: 0},
			{Dir: "lifecycle", Floor: 0},
			{Dir: "lifecycle/lifecycletest", Floor: 0},
			{Dir: "waittest", Floor: 0},
			{Dir: "wakeup", Floor: 0},
			{Dir: "scribe", Floor: 1},
			{Dir: "seal", Floor: 1},
			{Dir: "tree", Floor: 1, Pure: true},
			{Dir: "resource", Floor: 2, Pure: true},
			{Dir: "api", Floor: 3, Pure: true},
			{Dir: "settings", Floor: 3},
			{Dir: "settings/settingstest", Floor: 4},
		},
		Bans: []floorstest.Ban{
			{
				Import: "google.golang.org/grpc/...", Only: []string{"fleet/v1"},
				Reason: "only the generated code of the Sync stream speaks gRPC",
			},
			{
				Import: "github.com/goccy/go-yaml/...", Only: []string{"resource"},
				Reason: "one package reads and writes the text form",
			},
			{
				Import: "google.golang.org/protobuf/encoding/protojson",
				Reason: "the text form is walked by package resource: protojson knows neither our durations nor more than one error",
			},
			{
				Import: "net/http/...", Only: []string{"api"},
				Reason: "the module is data and rules; api names status codes, clients and servers are elsewhere",
			},
		},
	})
}
