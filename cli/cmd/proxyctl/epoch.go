package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

func (a *app) epochCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "epoch",
		Short: "Show the epoch and which nodes hold it, or accept it",
		Long: `Show the epoch in force, and the nodes that hold it.

An epoch is a life of the store: another one begins when etcd was wiped, replaced
or put back from a backup. A node follows into it by itself if it loses no virtual
IP and at most a tenth of the routes that it runs. Otherwise it holds the epoch: it
keeps what it runs, and proxyctl status shows it as HELD. Then either

  - apply the files again: once they bring back what the nodes run, the nodes
    follow by themselves; or
  - put back what one of the nodes has, likewise: proxyctl restore --help says how; or
  - accept the loss: proxyctl epoch accept.`,
		Example: `  proxyctl epoch
  proxyctl epoch -o json | jq .held
  proxyctl epoch accept --wait`,
		Args: noSuchCommand,
		RunE: runner(func(ctx context.Context, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				e, err := c.Epoch(ctx)
				if err != nil {
					return err
				}
				return a.show(e, func() { a.printf("%s", a.epochText(e)) })
			})
		}),
	}
	cmd.AddCommand(a.epochAcceptCommand())
	offer(cmd)
	return cmd
}

func (a *app) epochAcceptCommand() *cobra.Command {
	var (
		number  uint64
		wait    bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "accept",
		Short: "Make nodes follow the epoch, whatever they lose by it",
		Long: `Make the nodes that hold the epoch follow it, whatever they lose by it, and those
that come back later as well. It holds for as long as the epoch lasts, and cannot be
taken back. With --epoch nothing happens if another epoch has begun since it was
looked at.`,
		Example: `  proxyctl epoch                                 # what would be lost
  proxyctl epoch accept --wait
  proxyctl epoch accept --epoch 1795177081576    # that one and no other`,
		Args: takes(0, 0),
		RunE: runner(func(ctx context.Context, _ []string) error {
			if timeout <= 0 {
				return wrongUse("--timeout %s: expected more than 0", timeout)
			}
			return a.withClient(func(c *client.Client) error {
				before, err := c.Epoch(ctx)
				if err != nil {
					return err
				}
				if number == 0 {
					number = before.Epoch
				}
				after, err := c.AcceptEpoch(ctx, number)
				if err != nil {
					return err
				}
				if err := a.show(after, func() { a.printAccepted(before, after) }); err != nil || !wait {
					return err
				}
				// A node may be shown as holding the epoch until it has been told.
				p := a.newProgress(after.Version)
				p.held = true
				return p.run(ctx, c, timeout)
			})
		}),
	}
	cmd.Flags().Uint64Var(&number, "epoch", 0, "accept this epoch and no other (default: the one in force)")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until every node follows")
	cmd.Flags().DurationVar(&timeout, "timeout", defaultWait, "with --wait: how long")
	offer(cmd)
	return cmd
}

// epochText is the epoch for people.
func (a *app) epochText(e api.Epoch) string {
	var b strings.Builder
	on := a.colours(a.stdout)
	line := func(name, text string) {
		fmt.Fprintf(&b, "%s%s%s\n", paint(on, bold, name), strings.Repeat(" ", 11-len(name)), text)
	}
	accepted, held := "no", "by no node"
	if e.Accepted {
		accepted = "yes"
	}
	if len(e.Held) > 0 {
		held = "by " + counted(len(e.Held), "node")
	}
	line("epoch", fmt.Sprint(e.Epoch))
	line("cluster", visible(e.ClusterID))
	line("revision", fmt.Sprint(e.Revision))
	line("accepted", accepted)
	line("held", held)
	if len(e.Held) == 0 {
		return b.String()
	}
	var rows [][]cell
	for _, n := range e.Held {
		running := ""
		if n.Running != nil {
			running = fmt.Sprintf("%d (epoch %d)", n.Running.Revision, n.Running.Epoch)
		}
		rows = append(rows, row(n.ID, running, share(n.Loss.RoutesLost, n.Loss.Routes),
			share(n.Loss.ListenersLost, n.Loss.Listeners), share(n.Loss.VirtualIPsLost, n.Loss.VirtualIPs)))
	}
	b.WriteByte('\n')
	b.WriteString(tableText(on, []string{"NODE", "RUNNING", "ROUTES LOST", "LISTENERS LOST", "VIRTUAL IPS LOST"}, rows))
	fmt.Fprintf(&b, "\n%s\n", whatToDo)
	return b.String()
}

// share is "3 of 50", or nothing where there is nothing to lose.
func share(lost, all uint32) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d", lost, all)
}

// whatToDo is the way out for nodes that hold an epoch.
const whatToDo = "They keep what they run. Apply the files again, or put back what one of them has\n" +
	"(proxyctl restore --help), and they follow by themselves; or accept the loss: proxyctl epoch accept"

// printAccepted says what became of the nodes that held the epoch.
func (a *app) printAccepted(before, after api.Epoch) {
	switch {
	case before.Accepted && before.Epoch == after.Epoch:
		a.printf("epoch %d was accepted already\n", after.Epoch)
	case len(before.Held) == 0:
		a.printf("epoch %d accepted; no node held it\n", after.Epoch)
	default:
		a.printf("epoch %d accepted; %s follow and lose:\n", after.Epoch, counted(len(before.Held), "node"))
		var b strings.Builder
		writeLosses(&b, before.Held)
		a.printf("%s", b.String())
	}
}

// writeLosses lists nodes with what they lose.
func writeLosses(b *strings.Builder, nodes []api.HeldNode) {
	for i, n := range nodes {
		if i == maxNodesListed {
			fmt.Fprintf(b, "  … and %d more\n", len(nodes)-i)
			return
		}
		fmt.Fprintf(b, "  %s: %s\n", visible(n.ID), lossText(n.Loss))
	}
}

// lossText is what a node loses, in words.
func lossText(l api.Loss) string {
	text := fmt.Sprintf("%d of %s", l.RoutesLost, counted(int(l.Routes), "route"))
	if l.ListenersLost > 0 {
		text += fmt.Sprintf(", %d of %s", l.ListenersLost, counted(int(l.Listeners), "listener"))
	}
	if l.VirtualIPs > 0 {
		text += fmt.Sprintf(", %d of %s", l.VirtualIPsLost, counted(int(l.VirtualIPs), "virtual IP"))
	}
	return text
}

// holding are the nodes that hold the wanted version.
func holding(nodes []api.NodeStatus) []api.HeldNode {
	var held []api.HeldNode
	for _, n := range nodes {
		if n.State == api.Held && n.Held != nil {
			held = append(held, api.HeldNode{ID: n.ID, Running: n.Running, Loss: *n.Held})
		}
	}
	return held
}

// writeHeld says which nodes hold the epoch, and what to do.
func writeHeld(b *strings.Builder, epoch uint64, nodes []api.HeldNode, colour bool) {
	if len(nodes) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s: the store was wiped, replaced or put back. Following it would cost\n",
		paint(colour, red, fmt.Sprintf("Epoch %d is held by %s", epoch, counted(len(nodes), "node"))))
	writeLosses(b, nodes)
	fmt.Fprintf(b, "%s\n", whatToDo)
}

// heldError is why waiting for nodes that hold the epoch is in vain.
func heldError(epoch uint64, nodes []api.HeldNode) error {
	var b strings.Builder
	fmt.Fprintf(&b, "the change is made, but epoch %d is held by %s, by which they would lose:\n", epoch, counted(len(nodes), "node"))
	writeLosses(&b, nodes)
	b.WriteString(whatToDo)
	return errors.New(b.String())
}
