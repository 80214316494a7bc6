package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/settings"
)

// world is what commands touch outside of their arguments. Tests make their own.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	environment    []string
	configDir      func() (string, error)
	executable     func() (string, error)
	// author is noted in the history for the changes made here.
	author func() string
	// terminal reports whether a person looks at w.
	terminal func(w io.Writer) bool
	now      func() time.Time
	zone     *time.Location // of the times that people read
	// runEditor runs a shell-like command line on a file, in the foreground.
	runEditor func(ctx context.Context, editor, file string) error
}

// hostWorld is the world of the real program.
func hostWorld() world {
	return world{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv, environment: os.Environ(),
		configDir:  os.UserConfigDir,
		executable: os.Executable,
		author:     author,
		terminal: func(w io.Writer) bool {
			f, ok := w.(*os.File)
			return ok && term.IsTerminal(int(f.Fd()))
		},
		now:       time.Now,
		zone:      time.Local,
		runEditor: runEditor,
	}
}

// app is one run of proxyctl: the world and the flags that all commands share.
type app struct {
	world
	server  string
	context string
	output  string
	timeout time.Duration
	// noHelp is why --help showed nothing: cobra's help returns no error.
	noHelp error
}

// run carries out one command line and returns the exit status.
func run(ctx context.Context, args []string, w world) int {
	out := &printed{to: w.stdout}
	terminal := w.terminal
	w.stdout = out
	w.terminal = func(of io.Writer) bool {
		if of == out {
			of = out.to
		}
		return terminal(of)
	}
	a := &app{world: w}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(w.stdin)
	root.SetOut(w.stdout)
	root.SetErr(w.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = a.noHelp
	}
	var ran *ranError
	switch {
	case err == nil:
		err = out.lost()
	case !errors.As(err, &ran):
		err = plainly(err)
	}
	return a.finish(cmd, err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:     "proxyctl",
		Short:   "Run a fleet of reverse proxies as one thing",
		Version: api.NewBuild(version, commit).Line("proxyctl"),
		Long: `proxyctl changes and shows the configuration of a proxyfleet, and its nodes.

Exit status: 0 done, 1 failed or refused, 2 wrong use, 4 no control plane answers,
130 interrupted.`,
		Example: `  proxyctl demo                          # a whole fleet on this machine
  proxyctl apply -f shop.yaml --wait     # change the fleet, wait for every node
  proxyctl status                        # what each node runs
  proxyctl get routes
  proxyctl rollback 41`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.warnOfVariables()
			return a.checkOutput(cmd)
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              noSuchCommand,
		RunE:              showHelp,
	}
	// Files complete where a flag takes one.
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.SetFlagErrorFunc(settings.WrongFlag)
	root.SetVersionTemplate("{{.Version}}\n")
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "URL of the control plane (default: the current context's, else "+client.DefaultServer+")")
	flags.StringVar(&a.context, "context", "", "name of the context to use instead of the current one")
	flags.StringVarP(&a.output, "output", "o", "", "form of the output: table, json or yaml; of lists also wide or name")
	flags.DurationVar(&a.timeout, "request-timeout", client.DefaultTimeout, "how long to wait for one answer of the control plane")
	a.completeFlag(root, "context", a.completeContexts)
	a.completeFlag(root, "output", a.completeFormats)
	root.AddGroup(
		&cobra.Group{ID: groupConfiguration, Title: "Configuration:"},
		&cobra.Group{ID: groupFleet, Title: "Fleet:"},
		&cobra.Group{ID: groupSelf, Title: "proxyctl itself:"},
	)
	root.SetHelpCommandGroupID(groupSelf)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupConfiguration,
		a.applyCommand(), a.createCommand(), a.editCommand(), a.setCommand(), a.getCommand(),
		a.describeCommand(), a.deleteCommand(), a.diffCommand(), a.explainCommand(), a.historyCommand(), a.restoreCommand(), a.rollbackCommand())
	add(groupFleet, a.statusCommand(), a.nodesCommand(), a.vipCommand(), a.drainCommand(), a.undrainCommand(), a.epochCommand(), a.demoCommand())
	add(groupSelf, a.contextCommand(), a.completionCommand(), a.versionCommand())
	a.refuseTopics(root)
	return root
}

// Groups of commands in the help text.
const (
	groupConfiguration = "configuration"
	groupFleet         = "fleet"
	groupSelf          = "self"
)

// showHelp is what a command does that only groups others.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// noSuchCommand refuses words that name none of a command's commands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && !cmd.HasParent() && slices.Contains([]string{"lint", "upgrade", "export"}, args[0]) {
		return fmt.Errorf("unknown command %q: it is one of proxy-dataplane's", args[0])
	}
	cmd.SuggestionsMinimumDistance = 2 // two letters wrong are still near
	return settings.NoSuchCommand(args, cmd.SuggestionsFor)
}

// many is a most of takes: any number.
const many = -1

// takes refuses fewer than least and more than most words behind a command.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, expected, _ := strings.Cut(cmd.Use, " ")
		switch {
		case len(args) < least && len(args) > 0:
			return fmt.Errorf("expected %s, and not only %q", expected, strings.Join(args, " "))
		case len(args) < least:
			return fmt.Errorf("expected %s", expected)
		case most == 0 && len(args) > 0:
			return fmt.Errorf("%q: %s takes flags only", args[0], cmd.CommandPath())
		case most != many && len(args) > most:
			return fmt.Errorf("%q: expected no more than %s", args[most], expected)
		default:
			return nil
		}
	}
}

// runner makes a command's RunE: what it returns is its own failure, while
// everything that cobra returns by itself is wrong use.
func runner(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd.Context(), args); err != nil {
			return &ranError{err}
		}
		return nil
	}
}

// contextVariable names the context file. It is the only variable of proxyctl's own.
const contextVariable = "PROXYCTL_CONFIG"

// warnOfVariables tells of variables that were hardly meant for nobody: who sets
// PROXYCTL_SERVER would change another fleet.
func (a *app) warnOfVariables() {
	stray := settings.Stray(a.environment)
	for _, entry := range a.environment {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PROXYCTL_") && name != contextVariable {
			stray = append(stray, name+" is not read: --server, --context and "+contextVariable+" say which control plane is meant")
		}
	}
	for _, text := range stray {
		a.note("%s %s", paint(a.colours(a.stderr), yellow, "warning:"), visible(text))
	}
}

// contextPath is where the context file is.
func (a *app) contextPath() (string, error) {
	if p := a.getenv(contextVariable); p != "" {
		return p, nil
	}
	dir, err := a.configDir()
	if err != nil {
		return "", failure("context file: the user's config directory is not known; set PROXYCTL_CONFIG: %w", err)
	}
	return filepath.Join(dir, "proxyfleet", "proxyctl.yaml"), nil
}

// readContexts reads the context file, and says where it is.
func (a *app) readContexts() (client.Contexts, string, error) {
	path, err := a.contextPath()
	if err != nil {
		return client.Contexts{}, "", err
	}
	c, err := client.ReadContexts(path)
	return c, path, err
}

// target is the URL of the control plane that the flags and contexts name.
func (a *app) target() (string, error) {
	if a.server != "" {
		if a.context != "" {
			return "", wrongUse("--server and --context exclude each other")
		}
		if _, err := client.ParseServer(a.server); err != nil {
			return "", wrongUse("--server: %w", err)
		}
		return a.server, nil
	}
	contexts, path, err := a.readContexts()
	if err != nil {
		return "", err
	}
	name := contexts.Current
	if a.context != "" {
		name = a.context
	}
	if name == "" {
		// Whoever named a file meant a control plane of it, and not the one of this machine.
		if a.getenv(contextVariable) != "" {
			if _, err := os.Stat(path); err != nil {
				return "", wrongUse("%s: %w", contextVariable, err)
			}
		}
		return client.DefaultServer, nil
	}
	c, err := contexts.Get(name)
	if err != nil {
		return "", wrongUse("%w in %s", err, path)
	}
	return c.Server, nil
}

// connect makes the client; nothing is sent yet.
func (a *app) connect() (*client.Client, error) {
	server, err := a.target()
	if err != nil {
		return nil, err
	}
	if a.timeout <= 0 {
		return nil, wrongUse("--request-timeout %s: expected more than 0", a.timeout)
	}
	return client.New(client.Options{
		Server: server, Author: a.author(), Agent: "proxyctl/" + version, Timeout: a.timeout,
	})
}

// withClient runs f with a client and closes it.
func (a *app) withClient(f func(c *client.Client) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// author is who makes changes: a note for the history, not a proof.
func author() string {
	name := "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	// Windows writes DOMAIN\user.
	if runtime.GOOS == "windows" {
		name = name[strings.LastIndexByte(name, '\\')+1:]
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return name
	}
	return name + "@" + host
}
