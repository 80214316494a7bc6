package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) nodesCommand() *cobra.Command {
	cmd := a.nodesListCommand()
	cmd.Use, cmd.Aliases = "nodes", []string{"node"}
	cmd.Short = "List nodes, describe or delete one"
	cmd.Args = noSuchCommand
	cmd.Example = `  proxyctl nodes
  proxyctl nodes -o wide -l role=edge
  proxyctl nodes describe node-2
  proxyctl nodes delete node-9`
	cmd.AddCommand(a.nodesListCommand(), a.nodesDescribeCommand(), a.nodesDeleteCommand())
	return cmd
}

func (a *app) nodesListCommand() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List nodes",
		Example: "  proxyctl nodes list -l role=edge",
		Args:    takes(0, 0),
		RunE: runner(func(ctx context.Context, _ []string) error {
			wanted, err := parseSelector(selector)
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				items, err := a.fetchAll(ctx, c, nodeKind())
				if err != nil {
					return err
				}
				items = slices.DeleteFunc(items, func(it item) bool { return !wanted.matches(it.labels) })
				return a.printItems(items, true)
			})
		}),
	}
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "labels to have: k=v, k!=v, k, !k, by comma")
	offer(cmd, formatWide, formatName)
	return cmd
}

// nodeKind is the kind Node.
func nodeKind() resource.KindInfo {
	return resource.KindInfo{Kind: resource.Node, Plural: "nodes"}
}

func nodeObjects(ids []string) []object {
	objects := make([]object, len(ids))
	for i, id := range ids {
		objects[i] = object{nodeKind(), id}
	}
	return objects
}

func (a *app) nodesDescribeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "describe NODE…",
		Short:             "Show all that is known of nodes",
		Example:           "  proxyctl nodes describe node-2",
		Args:              takes(1, many),
		ValidArgsFunction: a.completeNodes,
		RunE: runner(func(ctx context.Context, args []string) error {
			return a.withClient(func(c *client.Client) error { return a.describe(ctx, c, nodeObjects(args)) })
		}),
	}
	offer(cmd)
	return cmd
}

func (a *app) nodesDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete NODE…",
		Short: "Forget nodes",
		Long: `Forget nodes that are gone for good, so that nothing waits for them. A node that
still runs says hello again and is back.`,
		Example:           "  proxyctl nodes delete node-9",
		Args:              takes(1, many),
		ValidArgsFunction: a.completeNodes,
		RunE: runner(func(ctx context.Context, args []string) error {
			return a.withClient(func(c *client.Client) error {
				var failures manyErrors
				for _, o := range nodeObjects(args) {
					err := c.DeleteNode(ctx, o.name)
					switch {
					case mayPass(err), errors.Is(err, context.Canceled):
						return append(failures, objectError(o, err)).orNil()
					case err != nil:
						failures = append(failures, objectError(o, err))
					default:
						a.printf("%s deleted\n", o)
					}
				}
				return failures.orNil()
			})
		}),
	}
}
