package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
)

func (a *app) contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Name control planes and choose between them",
		Long: `Contexts name control planes. They are kept in the file that PROXYCTL_CONFIG
names, or in proxyfleet/proxyctl.yaml in the user's config directory. --server
and --context on any command go before the current context; without any of
them the server is ` + client.DefaultServer + `.`,
		Args: noSuchCommand,
		RunE: showHelp,
	}
	cmd.AddCommand(a.contextListCommand(), a.contextUseCommand(), a.contextSetCommand(), a.contextDeleteCommand(), a.contextShowCommand())
	return cmd
}

func (a *app) contextListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the contexts; * is the current one",
		Example: "  proxyctl context list",
		Args:    takes(0, 0),
		RunE: runner(func(context.Context, []string) error {
			contexts, _, err := a.readContexts()
			if err != nil {
				return err
			}
			rows := make([][]cell, 0, len(contexts.Contexts))
			for _, c := range contexts.Contexts {
				mark := " "
				if c.Name == contexts.Current {
					mark = "*"
				}
				rows = append(rows, row(mark, c.Name, c.Server))
			}
			list := struct {
				Current  string           `json:"current,omitempty"`
				Contexts []client.Context `json:"contexts"` // a list also where there is none
			}{contexts.Current, append([]client.Context{}, contexts.Contexts...)}
			return a.show(list, func() { a.printTable([]string{" ", "NAME", "SERVER"}, rows) })
		}),
	}
	offer(cmd)
	return cmd
}

func (a *app) contextUseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Example:           "  proxyctl context use production",
		Args:              takes(1, 1),
		ValidArgsFunction: first(a.completeContexts),
		RunE: runner(func(_ context.Context, args []string) error {
			return a.changeContexts(func(c *client.Contexts) (string, error) {
				x, err := c.Get(args[0])
				c.Current = x.Name
				return fmt.Sprintf("current context %s: %s", x.Name, x.Server), err
			})
		}),
	}
}

func (a *app) contextSetCommand() *cobra.Command {
	var use bool
	cmd := &cobra.Command{
		Use:   "set NAME URL",
		Short: "Add a context or change its server",
		Example: `  proxyctl context set production https://fleet.example.net
  proxyctl context set local http://127.0.0.1:7400 --use`,
		Args: takes(2, 2),
		RunE: runner(func(_ context.Context, args []string) error {
			x := client.Context{Name: args[0], Server: args[1]}
			if _, err := client.ParseServer(x.Server); err != nil {
				return wrongUse("%w", err)
			}
			return a.changeContexts(func(c *client.Contexts) (string, error) {
				c.Set(x)
				if use {
					c.Current = x.Name
				}
				return fmt.Sprintf("context %s: %s", x.Name, x.Server), nil
			})
		}),
	}
	cmd.Flags().BoolVar(&use, "use", false, "make it the current one; the first context is that anyway")
	return cmd
}

func (a *app) contextDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME",
		Aliases:           []string{"rm"},
		Short:             "Forget a context",
		Example:           "  proxyctl context delete old",
		Args:              takes(1, 1),
		ValidArgsFunction: first(a.completeContexts),
		RunE: runner(func(_ context.Context, args []string) error {
			adrift := false
			err := a.changeContexts(func(c *client.Contexts) (string, error) {
				// Who has others hardly means the control plane of this machine.
				adrift = c.Current == args[0] && len(c.Contexts) > 1
				return fmt.Sprintf("context %s deleted", args[0]), c.Delete(args[0])
			})
			if err == nil && adrift {
				a.note("%s none is current now: commands go to %s until proxyctl context use names another one",
					paint(a.colours(a.stderr), yellow, "warning:"), client.DefaultServer)
			}
			return err
		}),
	}
}

func (a *app) contextShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show which control plane commands would speak to, and why",
		Example: "  proxyctl context show --context production",
		Args:    takes(0, 0),
		RunE: runner(func(context.Context, []string) error {
			server, err := a.target()
			if err != nil {
				return err
			}
			contexts, path, err := a.readContexts()
			if err != nil {
				return err
			}
			name := contexts.Current
			switch {
			case a.server != "":
				name = ""
			case a.context != "":
				name = a.context
			}
			return a.show(struct {
				Context string `json:"context,omitempty"`
				Server  string `json:"server"`
				File    string `json:"file"`
			}{name, server, path}, func() {
				a.printf("context  %s\nserver   %s\nfile     %s\n", cmp.Or(name, "(none)"), server, path)
			})
		}),
	}
	offer(cmd)
	return cmd
}

// changeContexts reads the context file, changes it, writes it back and says
// what was done. The last of two writers at once wins.
func (a *app) changeContexts(change func(c *client.Contexts) (done string, err error)) error {
	contexts, path, err := a.readContexts()
	if err != nil {
		return err
	}
	done, err := change(&contexts)
	if err != nil {
		return err
	}
	if err := contexts.Write(path); err != nil {
		return err
	}
	a.printf("%s\n", done)
	return nil
}
