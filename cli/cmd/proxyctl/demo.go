package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var cfg demo.Config
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole fleet on this machine, without root",
		Long: `Run a whole fleet on this machine, without root: a control plane on embedded
etcd (127.0.0.1:7400 and 7401), nodes on 127.0.0.11:8080, 127.0.0.12:8080, …, of
which one holds the virtual IP 127.0.0.100:8080, and a sample backend on
127.0.0.1:9001 to 9005. When every node runs the first configuration it says what
to try, and shows the fleet until Ctrl-C, which takes everything down.`,
		Example: `  proxyctl demo
  proxyctl demo --nodes 5 --dir /tmp/fleet`,
		Args: noSuchCommand,
		RunE: runner(func(ctx context.Context, _ []string) error {
			if cfg.Nodes == 0 || cfg.Loops == 0 { // in a Config that is the default
				return wrongUse("--nodes, --loops: expected 1 or more")
			}
			if err := cfg.Check(); err != nil {
				return wrongUse("%w", err)
			}
			self, err := a.executable()
			if err != nil {
				return err
			}
			cfg.Self, cfg.Out = self, a.stdout
			cfg.Live = a.terminal(a.stdout) && a.getenv("TERM") != "dumb"
			return demo.Run(ctx, cfg)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Dir, "dir", "", "directory for all state and logs, kept at the end (default a temporary one)")
	flags.IntVar(&cfg.Nodes, "nodes", 3, "how many nodes, 1 to 9")
	flags.IntVar(&cfg.Loops, "loops", 1, "event loops of each node")
	flags.BoolVar(&cfg.ExitAfterReady, "exit-after-ready", false, "end as soon as every node runs the first configuration")
	flags.DurationVar(&cfg.ReadyTimeout, "ready-timeout", 0, "how long that may take (default 1m)")
	_ = cmd.MarkFlagDirname("dir")
	cmd.AddCommand(a.demoBackendCommand())
	return cmd
}

// demoBackendCommand is the process that the demo starts as its sample backend.
func (a *app) demoBackendCommand() *cobra.Command {
	addresses := demo.BackendAddresses()
	cmd := &cobra.Command{
		Use:    "backend",
		Short:  "Run the demo's sample backend alone",
		Hidden: true,
		Args:   takes(0, 0),
		RunE: runner(func(ctx context.Context, _ []string) error {
			return demo.ServeBackend(ctx, addresses)
		}),
	}
	cmd.Flags().StringSliceVar(&addresses, "address", addresses, "where to listen")
	return cmd
}
