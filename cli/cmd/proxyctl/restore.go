package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
)

func (a *app) restoreCommand() *cobra.Command {
	var files []string
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "restore -f FILE…",
		Short: "Make the configuration the resources of files, and delete all others",
		Long: `Make the configuration the resources of files and nothing else: what they do not
name is deleted. It is one change, made whole or not at all. Nodes are fleet state and
stay as they are.

So a fleet is put back whose etcd was lost, or is too old a copy: proxy-dataplane
export, on the machine of any node, writes what that node has, with its private keys.
Nodes that hold the new epoch lose nothing by it then, and follow by themselves.`,
		Example: `  proxyctl restore -f fleet.yaml --dry-run
  proxyctl restore -f fleet.yaml -m "etcd was lost" --wait
  ssh root@edge-1 proxy-dataplane export --config /etc/proxyfleet/node.yaml --to - | proxyctl restore -f - --wait`,
		Args: filesOnly,
		RunE: runner(func(ctx context.Context, _ []string) error {
			return a.sendFiles(ctx, files, flags, (*client.Client).Restore)
		}),
	}
	addFiles(cmd, &files)
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.IfMatch, "if-match", "", "change only if the fleet is at EPOCH-REVISION, such as 7-41")
	offer(cmd)
	return cmd
}
