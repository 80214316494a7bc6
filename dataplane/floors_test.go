// Package floors_test holds the table of this module's packages: the floor that
// each stands on and what it may import.
package floors_test

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/floorstest"
)

func TestImportsGoStrictlyDown(t *testing.T) {
	const main = "cmd/proxy-dataplane"
	floorstest.Check(t, floorstest.Module{
		Name: "dataplane",
		Packages: []floorstest.Package{
			{Dir: "message", Floor: 0, Pure: true},
			{Dir: "hugepage", Floor: 0},
			{Dir: "permit", Floor: 0},
			{Dir: "permit/permittest", Floor: 0},
			{Dir: "pressure", Floor: 0},
			{Dir: "stats", Floor: 0},
			{Dir: "http1", Floor: 1, Pure: true},
			{Dir: "hpack", Floor: 1, Pure: true},
			{Dir: "http2", Floor: 2, Pure: true},
			{Dir: "http1/http1test", Floor: 2, Pure: true},
			{Dir: "balance", Floor: 1, Pure: true},
			{Dir: "clienthello", Floor: 1, Pure: true},
			{Dir: "member", Floor: 1, Pure: true},
			{Dir: "poll", Floor: 1},
			{Dir: "proxyproto", Floor: 1, Pure: true},
			{Dir: "ring", Floor: 1},
			{Dir: "table", Floor: 2, Pure: true},
			{Dir: "vip", Floor: 2, Pure: true},
			{Dir: "compile", Floor: 3, Pure: true},
			{Dir: "exchange", Floor: 3, Pure: true},
			{Dir: "upstream", Floor: 3},
			{Dir: "secure", Floor: 3},
			{Dir: "secure/securetest", Floor: 3},
			{Dir: "lastgood", Floor: 3},
			{Dir: "gossip", Floor: 3},
			{Dir: "accesslog", Floor: 4},
			{Dir: "explain", Floor: 4, Pure: true},
			{Dir: "agent", Floor: 4},
			{Dir: "control", Floor: 4},
			{Dir: "handover", Floor: 3},
			{Dir: "evloop", Floor: 4},
			{Dir: "feed", Floor: 4},
			{Dir: "filefeed", Floor: 4},
			{Dir: "fleetstate", Floor: 4},
			{Dir: "admin", Floor: 5},
			{Dir: main, Floor: 6},
		},
		// Never controlplane: a node must boot and serve without it.
		Others: []string{"proto/..."},
		Bans: []floorstest.Ban{
			{
				Import: "net/http/...", Only: []string{"admin"},
				Reason: "requests go through our own engine; only the admin endpoint is net/http",
			},
			{
				Import: "github.com/prometheus/...", Only: []string{"admin"},
				Reason: "counting is package stats; metrics get their names when they are read",
			},
			{
				Import: "google.golang.org/grpc/...", Only: []string{"feed"},
				Reason: "only the feed speaks to the control plane",
			},
			{
				Import: "github.com/hashicorp/memberlist", Only: []string{"gossip"},
				Reason: "everybody else knows members as a member.View",
			},
			{
				Import: "encoding/json", Only: []string{"admin", "control", "handover", main},
				Reason: "reflection has no place near a request; the access log has its own encoder",
			},
			{
				Import: "golang.org/x/sys/...", Only: []string{"agent", "poll", "ring", "evloop", "gossip", "handover", "hugepage", main},
				Reason: "raw system calls stay with those who have sockets or threads of their own",
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
