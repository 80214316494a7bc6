package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/proxyfleet/proxyfleet/dataplane/handover"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/scribe"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// world is what the program touches besides files and sockets.
type world struct {
	args           []string // after the program's name
	getenv         func(string) (string, bool)
	environment    []string
	stdin          io.Reader
	stdout, stderr io.Writer
	unwritten      func() uint64 // how many messages could not be written to stderr
	reload         <-chan os.Signal
}

const longHelp = `proxy-dataplane is a node of a fleet: it carries traffic as its control plane says,
or, with --resources, as a file says.

Each flag is also an environment variable (--node-id: PROXYFLEET_NODE_ID) and a
key of the configuration file (node-id: …). A flag wins over a variable, a
variable over the file. Lists and pairs are written with commas, or as lists and
maps in the file.

Messages go to standard error, the access log to standard output; nothing waits
for whoever reads them: what finds no room is left out and counted. On SIGHUP the
access log's file is opened again and --resources is read again.`

const examples = `  # A node of the fleet of a control plane on this machine:
  proxy-dataplane --control-plane 127.0.0.1:7401

  # The same on another machine, on a network that is trusted:
  proxy-dataplane --control-plane 10.0.0.5:7401,10.0.0.6:7401 --insecure --labels zone=a,role=edge

  # On its own, with a file of resources that is read again when it changes:
  proxy-dataplane --resources shop.yaml --access-log /var/log/proxyfleet/access.log`

// errFailed is a failure that was logged already.
var errFailed = errors.New("failed")

// run is the program: it returns the exit status.
func run(ctx context.Context, args []string, w world) int {
	w.args = args
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
		if ran.Name() == helpName {
			ran = ran.Root() // whose help tells the commands that there are
		}
		handover.Refuse(w.getenv, err) // whoever upgrades sees no more of this process
		fmt.Fprintf(w.stderr, "proxy-dataplane: %v\nTry %s --help.\n", err, ran.CommandPath())
		return exitUsage
	}
}

func newCommand(w world) *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:           "proxy-dataplane",
		Short:         "Carries the traffic of a fleet",
		Version:       api.NewBuild(version, commit).Line("proxy-dataplane"),
		Long:          longHelp,
		Example:       examples,
		Args:          noSuchCommand,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := settings.Fill(c.Flags(), w.getenv); err != nil {
				return err
			}
			if err := o.check(c.Flags()); err != nil {
				return err
			}
			messages := scribe.Start(w.stderr)
			defer messages.Close()
			w.unwritten = messages.Lost
			logger := slog.New(slog.NewTextHandler(messages, &slog.HandlerOptions{Level: o.level}))
			for _, text := range settings.Stray(w.environment, handover.Variable) {
				logger.Warn(text)
			}
			ignorePipe()
			err := serve(c.Context(), o, w, logger)
			if err == nil || errors.Is(err, settings.ErrUsage) {
				return err
			}
			logger.Error("proxy-dataplane failed", "error", err)
			return errFailed
		},
	}
	o.define(command.Flags())
	command.SetFlagErrorFunc(settings.WrongFlag)
	command.SetVersionTemplate("{{.Version}}\n")
	command.CompletionOptions.DisableDefaultCmd = true
	command.AddCommand(newUpgradeCommand(w), newExportCommand(w), newAgentCommand(w), newLintCommand(w), newExplainCommand(w))
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

const helpName = "help"

// noSuchCommand refuses words that name no command.
func noSuchCommand(c *cobra.Command, args []string) error {
	c.SuggestionsMinimumDistance = 2 // two letters wrong are still near
	return settings.NoSuchCommand(args, c.SuggestionsFor)
}
