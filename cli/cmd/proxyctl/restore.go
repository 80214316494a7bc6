package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

func (a *app) restoreCommand() *cobra.Command {
	var files []string
	var flags writeFlags
	var yes bool
	cmd := &cobra.Command{
		Use:   "restore -f FILE…",
		Short: "Make the configuration the resources of files, and delete all others",
		Long: `Make the configuration the resources of files and nothing else: what they do not
name is deleted. It is one change, made whole or not at all. Nodes are fleet state and
stay as they are. What would be deleted is said, and nothing done, unless --yes says that
it is meant.

So a fleet is put back whose etcd was lost, or is too old a copy: proxy-dataplane
export, on the machine of any node, writes what that node has, with its private keys.
Nodes that hold the new epoch lose nothing by it then, and follow by themselves.`,
		Example: `  proxyctl restore -f fleet.yaml --dry-run
  proxyctl restore -f fleet.yaml -m "etcd was lost" --wait
  proxyctl restore -f fleet.yaml --yes   # and delete all else
  ssh root@edge-1 proxy-dataplane export --config /etc/proxyfleet/node.yaml --to - | proxyctl restore -f - --wait`,
		Args: filesOnly,
		RunE: runner(func(ctx context.Context, _ []string) error {
			send := (*client.Client).Restore
			if !flags.DryRun && !yes {
				send = func(c *client.Client, ctx context.Context, documents []byte, w client.Write) (api.ApplyResult, error) {
					return restoreUnlessDeleting(ctx, c, documents, w)
				}
			}
			flags.AllowShrink = flags.AllowShrink || yes
			return a.sendFiles(ctx, files, flags, send)
		}),
	}
	addFiles(cmd, &files)
	flags.add(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "delete what the files do not name, however much it is")
	cmd.Flags().StringVar(&flags.IfMatch, "if-match", "", "change only if the fleet is at EPOCH-REVISION, such as 7-41")
	offer(cmd)
	return cmd
}

// restoreUnlessDeleting restores if that deletes nothing, and else says what it would delete.
func restoreUnlessDeleting(ctx context.Context, c *client.Client, documents []byte, w client.Write) (api.ApplyResult, error) {
	trial := w
	trial.DryRun, trial.AllowShrink = true, true
	would, err := c.Restore(ctx, documents, trial)
	if err != nil {
		return would, err
	}
	if err := deletionsError(would.Changed); err != nil {
		return would, err
	}
	if w.IfMatch == "" { // what is made meanwhile would be deleted unseen
		w.IfMatch = api.RevisionTag(would.Epoch, would.Revision)
	}
	return c.Restore(ctx, documents, w)
}

// deletionsError names what would be deleted; nil: nothing.
func deletionsError(changed []api.Changed) error {
	var b strings.Builder
	n := 0
	for _, x := range changed {
		if x.Action != api.Deleted {
			continue
		}
		if n++; n <= maxChangedLines {
			fmt.Fprintf(&b, "  %s/%s\n", x.Kind, visible(x.Name))
		}
	}
	if n == 0 {
		return nil
	}
	if n > maxChangedLines {
		fmt.Fprintf(&b, "  … and %d more\n", n-maxChangedLines)
	}
	return errors.New(counted(n, "resource") + " would be deleted, which the files do not name; nothing was changed:\n" +
		b.String() + "--yes does it, --dry-run shows all that it does")
}
