package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/scribe"
	"github.com/proxyfleet/proxyfleet/proto/settings"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// world is what the program touches besides files and sockets.
type world struct {
	getenv         func(string) (string, bool)
	environment    []string
	stdout, stderr io.Writer
	waits          waits
}

const longHelp = `proxy-controlplane keeps the configuration of a fleet of reverse proxies in etcd,
checks every change with the nodes' own compiler, and feeds it to the nodes.
proxyctl talks to its REST address, nodes connect to its gRPC address.

Without --etcd-endpoints it runs an etcd of its own in the data directory.

Each flag is also an environment variable (--data-dir: PROXYFLEET_DATA_DIR) and a
key of the configuration file (data-dir: …). A flag wins over a variable, a
variable over the file. Lists are written with commas, or as lists in the file.

Messages go to standard error; nothing waits for whoever reads them: what finds no
room is left out and counted. The addresses in use are also written to
addresses.json in the data directory, once both answer.`

const examples = `  # A control plane of its own, for this machine only:
  proxy-controlplane --data-dir /var/lib/proxyfleet

  # On an etcd cluster that exists:
  (umask 077; openssl rand -hex 32 >/etc/proxyfleet/seal.key)   # once, for all replicas
  proxy-controlplane --etcd-endpoints http://10.0.0.1:2379,http://10.0.0.2:2379,http://10.0.0.3:2379 \
    --seal-key-file /etc/proxyfleet/seal.key

  # For nodes on other machines, on a network that is trusted:
  proxy-controlplane --grpc-address 10.0.0.5:7401 --insecure

  # With a file:
  proxy-controlplane --config /etc/proxyfleet/controlplane.yaml`

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, w world) int {
	command := newCommand(w)
	refused := refuseTopics(command)
	command.SetArgs(args)
	command.SetOut(w.stdout)
	command.SetErr(w.stderr)
	ran, err := command.ExecuteContextC(ctx)
	if err == nil {
		err = refused()
	}
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errFailed):
		return exitFailed
	default:
		// All that cobra finds itself is wrong use too.
		if ran.Name() == helpName {
			ran = ran.Root() // whose help tells the commands that there are
		}
		fmt.Fprintf(w.stderr, "proxy-controlplane: %v\nTry %s --help.\n", err, ran.CommandPath())
		return exitUsage
	}
}

// errFailed is a failure that was logged already.
var errFailed = errors.New("failed")

func newCommand(w world) *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:           "proxy-controlplane",
		Short:         "Keeps a fleet's configuration and feeds it to the nodes",
		Version:       api.NewBuild(version, commit).Line("proxy-controlplane"),
		Long:          longHelp,
		Example:       examples,
		Args:          noSuchCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := settings.Fill(c.Flags(), w.getenv); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			level, err := o.level()
			if err != nil {
				return err
			}
			key, err := readSealKey(o)
			if err != nil {
				return err
			}
			messages := scribe.Start(w.stderr)
			defer messages.Close()
			logger := slog.New(slog.NewTextHandler(messages, &slog.HandlerOptions{Level: level}))
			for _, text := range settings.Stray(w.environment) {
				logger.Warn(text)
			}
			if err := serve(c.Context(), o, w.waits, key, messages.Lost, logger); err != nil {
				logger.Error("proxy-controlplane failed", "error", err)
				return errFailed
			}
			return nil
		},
	}
	command.Flags().AddFlagSet(o.flags())
	command.Flags().SortFlags = false
	command.SetFlagErrorFunc(settings.WrongFlag)
	command.SetVersionTemplate("{{.Version}}\n")
	command.CompletionOptions.DisableDefaultCmd = true
	command.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print version, commit, schema level and Go version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(w.stdout, command.Version)
			return err
		},
	})
	return command
}

const helpName = "help"

// refuseTopics makes help refuse words that name no command, whether the command help or
// the flag asks for it: of themselves both show the help of what is above them. What it
// returns says, after a run, what the flag was refused: cobra's help returns no error.
func refuseTopics(root *cobra.Command) (refused func() error) {
	root.InitDefaultHelpCmd()
	for _, help := range root.Commands() {
		if help.Name() == helpName {
			help.Args = func(_ *cobra.Command, topic []string) error {
				_, rest, err := root.Find(topic)
				if err == nil {
					err = root.ValidateArgs(rest)
				}
				return err
			}
		}
	}
	var err error
	show := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == root {
			if err = c.ValidateArgs(c.Flags().Args()); err != nil {
				return
			}
		}
		show(c, args)
	})
	return func() error { return err }
}

// noSuchCommand refuses words that name no command.
func noSuchCommand(c *cobra.Command, args []string) error {
	c.SuggestionsMinimumDistance = 2 // two letters wrong are still near
	return settings.NoSuchCommand(args, c.SuggestionsFor)
}
