package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/controlplanetest"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// The tests run demos of stand-ins: this test's own program, under the names of
// the fleet's programs. What a stand-in is to do stands in a file beside it.

// play is the file that tells stand-ins how to misbehave, by process.
const play = "play.json"

// The parts that a stand-in can play.
const (
	partDies     = "dies"     // says why and exits with status 3
	partIgnores  = "ignores"  // does not end on SIGTERM
	partSilent   = "silent"   // a node that never says hello
	partRefusing = "refusing" // a node that refuses its configuration
	partGone     = "gone"     // a node that only the control plane remembers
	partUpgraded = "upgraded" // a node that goes on as a child of its own
)

// upgraded is set in the environment of a node that followed another.
const upgraded = "DEMO_TEST_UPGRADED"

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case controlPlaneBinary, dataPlaneBinary, "proxyctl":
		os.Exit(standIn(name, os.Args[1:]))
	default:
		os.Exit(m.Run())
	}
}

// standIn is a program of the fleet, as far as the demo can tell.
func standIn(name string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := map[string]string{}
	for i := 0; i+1 < len(args); i++ {
		if flag, ok := strings.CutPrefix(args[i], "--"); ok {
			flags[flag] = args[i+1]
		}
	}
	parts := map[string]string{}
	if data, err := os.ReadFile(filepath.Join(filepath.Dir(os.Args[0]), play)); err == nil {
		if err := json.Unmarshal(data, &parts); err != nil {
			panic(err)
		}
	}
	process := name
	if name == dataPlaneBinary {
		process = flags["node-id"]
	}
	fmt.Fprintf(os.Stderr, "%s starts with %s\n", process, strings.Join(args, " "))
	if parts[process] == partDies {
		fmt.Fprintln(os.Stderr, "cannot go on: the disk is on fire")
		return 3
	}
	if parts[process] == partUpgraded && os.Getenv(upgraded) == "" {
		next := exec.Command(os.Args[0], args...)
		next.Stdout, next.Stderr, next.Env = os.Stdout, os.Stderr, append(os.Environ(), upgraded+"=1")
		if err := next.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	var err error
	switch name {
	case controlPlaneBinary:
		err = standInControlPlane(ctx, flags, parts)
	case dataPlaneBinary:
		fmt.Println(`{"access":"log"}`)
		if parts[process] != partSilent {
			err = os.MkdirAll(flags["state-dir"], 0o700) // its hello to the control plane
		}
		<-ctx.Done()
	case "proxyctl":
		err = ServeBackend(ctx, strings.Split(flags["address"], ","))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if parts[process] == partIgnores {
		fmt.Fprintln(os.Stderr, process+" ignores SIGTERM")
		signal.Ignore(syscall.SIGTERM)
		select {} // until it is killed
	}
	return 0
}

// standInControlPlane serves the REST contract. Nodes that made their directory
// run whatever is wanted, unless they play another part.
func standInControlPlane(ctx context.Context, flags, parts map[string]string) error {
	fleet := controlplanetest.NewHandler()
	fleet.Before(func(*http.Request) *api.Error {
		wanted := fleet.Version().Revision
		var nodes []api.NodeStatus
		for _, id := range []string{"node-1", "node-2", "node-9"} {
			_, err := os.Stat(filepath.Join(filepath.Dir(flags["data-dir"]), id))
			switch {
			case parts[id] == partGone:
				nodes = append(nodes, controlplanetest.Node(id, api.Disconnected, 0, wanted))
			case err != nil: // not there yet
			case parts[id] == partRefusing:
				n := controlplanetest.Node(id, api.Rejected, 0, wanted)
				n.Problems = []api.Problem{{Kind: "Listener", Name: "web", Got: "port 8080 in use"}}
				nodes = append(nodes, n)
			default:
				nodes = append(nodes, controlplanetest.Node(id, api.Synced, wanted, wanted))
			}
		}
		fleet.SetNodes(nodes...)
		fleet.SetVIPs(api.VIPStatus{Name: "shop", Holder: "node-2"})
		return nil
	})
	server := &http.Server{Addr: flags["rest-address"], Handler: fleet, ReadHeaderTimeout: time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return server.Close()
	}
}
