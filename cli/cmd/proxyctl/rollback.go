package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
)

func (a *app) rollbackCommand() *cobra.Command {
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "rollback REVISION",
		Short: "Make the configuration what it was at a revision",
		Long: `Make the configuration what it was at a revision, byte for byte. That is a new
revision: the history goes on. Nodes are fleet state and stay as they are.

A certificate of then that has expired, or that ends earlier than the one in force,
is not brought back: the one in force stays, and the answer says so.
--with-certificates brings these back too.`,
		Example: `  proxyctl history
  proxyctl rollback 41 --dry-run
  proxyctl rollback 41 --wait -m "checkout was slow"`,
		Args:              takes(1, 1),
		ValidArgsFunction: first(a.completeRevisions),
		RunE: runner(func(ctx context.Context, args []string) error {
			revision, err := parseRevision(args[0])
			if err != nil {
				return err
			}
			if err := flags.check(); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				result, err := c.Rollback(ctx, revision, flags.Write)
				if err != nil {
					return err
				}
				return a.changed(ctx, c, result, flags)
			})
		}),
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.WithCertificates, "with-certificates", false, "bring back certificates too that have expired or are older than those in force")
	cmd.Flags().StringVar(&flags.IfMatch, "if-match", "", "change only if the fleet is at EPOCH-REVISION, such as 7-41")
	offer(cmd)
	return cmd
}

func parseRevision(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, wrongUse("revision %q: expected a number", s)
	}
	return n, nil
}
