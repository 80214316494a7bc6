package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/proxyfleet/proxyfleet/dataplane/control"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings"
)

// defaultUpgradeTimeout is far more than compiling 100,000 routes takes.
const defaultUpgradeTimeout = 30 * time.Second

const upgradeHelp = `Replaces the program of the node that runs on this machine while it serves. The
running process starts the new program with its own arguments and environment,
and shares its listening sockets with it. The new process loads the last known
good configuration; when that is ready it takes connections, and the old process
ends its own as it does after SIGTERM, within its --drain-timeout.

If the new process is not ready in time, or ends, the running one goes on as if
nothing had happened.

The new process is a child of the old one and has another process id: see
docs/REFERENCE.md for what service managers must be told. A node that runs on
--resources, or without a --state-dir, cannot be upgraded in this way.

Exit status: 0 the new process serves; 1 the old one goes on, or no node runs;
2 wrong use.`

const upgradeExamples = `  # After the program's file was replaced:
  proxy-dataplane upgrade

  # To another version, of a node with a name and a place of its own:
  proxy-dataplane upgrade --binary /opt/proxyfleet-1.1/proxy-dataplane --node-id edge-1 --state-dir /srv/proxyfleet

  # A node that has a configuration file:
  proxy-dataplane upgrade --config /etc/proxyfleet/node.yaml`

// newUpgradeCommand is proxy-dataplane upgrade. It takes the node's own flags,
// variables and configuration file, so that it finds what the node was told; only
// those that name the node matter.
func newUpgradeCommand(w world) *cobra.Command {
	var o options
	var ask control.Request
	var timeout time.Duration
	command := &cobra.Command{
		Use:     "upgrade",
		Short:   "Replace the program of the running node while it serves",
		Long:    upgradeHelp,
		Example: upgradeExamples,
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := settings.Fill(c.Flags(), w.getenv); err != nil {
				return err
			}
			for _, text := range settings.Stray(w.environment) {
				fmt.Fprintf(w.stderr, "proxy-dataplane: warning: %s\n", text)
			}
			if err := checkUpgrade(&o, &ask, timeout); err != nil {
				return err
			}
			if err := upgrade(c.Context(), o, ask, w); err != nil {
				fmt.Fprintf(w.stderr, "proxy-dataplane: upgrade: %v\n", err)
				return errFailed
			}
			return nil
		},
	}
	f := command.Flags()
	f.StringVar(&ask.Binary, "binary", "", "`PATH` of the new program (default: the path that the running one was started by)")
	f.DurationVar(&timeout, "timeout", defaultUpgradeTimeout, "how long the new process may take to be ready")
	o.define(f)
	f.VisitAll(func(flag *pflag.Flag) {
		switch flag.Name {
		case "binary", "timeout", "node-id", "state-dir", settings.ConfigFlag:
		default:
			flag.Hidden = true
		}
	})
	return command
}

func checkUpgrade(o *options, ask *control.Request, timeout time.Duration) error {
	switch {
	case !resource.ValidName(o.nodeID):
		return settings.Usage("--node-id: %q is no name of a node", o.nodeID)
	case o.resources != "":
		return settings.Usage("upgrade: a node that runs on --resources keeps no state to hand over: restart it")
	case o.stateDir == "":
		return settings.Usage("--state-dir: upgrade finds the running node by it")
	case timeout < time.Millisecond:
		return settings.Usage("--timeout: %s: expected a duration from 1ms", timeout)
	}
	if ask.Binary != "" {
		path, err := exec.LookPath(ask.Binary)
		if err != nil {
			return settings.Usage("--binary: %v", err)
		}
		if ask.Binary, err = filepath.Abs(path); err != nil {
			return settings.Usage("--binary: %v", err)
		}
	}
	ask.TimeoutMillis = timeout.Milliseconds()
	return nil
}

// upgrade asks the running node and shows what it says.
func upgrade(ctx context.Context, o options, ask control.Request, w world) error {
	a, err := control.Upgrade(ctx, nodeDir(o.stateDir, o.nodeID), ask, func(line string) { fmt.Fprintln(w.stdout, line) })
	if errors.Is(err, control.ErrNobody) {
		return fmt.Errorf("no node %q runs with the state directory %s (--node-id and --state-dir say which one is meant; one that runs on --resources is restarted instead)", o.nodeID, o.stateDir)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stdout, "Upgraded: process %d serves; process %d ends its connections, within %s.\n",
		a.PID, a.OldPID, time.Duration(a.DrainMS)*time.Millisecond)
	return nil
}
