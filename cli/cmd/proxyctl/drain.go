package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// drainTimeout is the default of --timeout: as long as a node waits for its
// exchanges when it is stopped.
const drainTimeout = 30 * time.Second

// maxDrainRetries bounds how often a node's record is read again because
// somebody else has written it.
const maxDrainRetries = 5

func (a *app) drainCommand() *cobra.Command {
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain NODE…",
		Short: "Take traffic off nodes",
		Long: `Take traffic off nodes: they accept no new connections, answer what is under way,
end each connection after its answer, and are not ready (/readyz) any more. They go
on following the configuration. It is fleet state and no change of the
configuration: a rollback does not undo it. proxyctl undrain does.`,
		Example: `  proxyctl drain node-2
  proxyctl drain node-2 --wait && ssh node-2 systemctl restart proxy-dataplane`,
		Args:              takes(1, many),
		ValidArgsFunction: a.completeNodes,
		RunE: runner(func(ctx context.Context, args []string) error {
			if timeout <= 0 {
				return wrongUse("--timeout %s: expected more than 0", timeout)
			}
			return a.withClient(func(c *client.Client) error {
				if err := a.setDrained(ctx, c, args, true); err != nil || !wait {
					return err
				}
				return a.waitDrained(ctx, c, args, timeout)
			})
		}),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the nodes have no connection left")
	cmd.Flags().DurationVar(&timeout, "timeout", drainTimeout, "how long --wait waits")
	return cmd
}

func (a *app) undrainCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "undrain NODE…",
		Short:             "Let nodes take traffic again",
		Example:           "  proxyctl undrain node-2",
		Args:              takes(1, many),
		ValidArgsFunction: a.completeNodes,
		RunE: runner(func(ctx context.Context, args []string) error {
			return a.withClient(func(c *client.Client) error { return a.setDrained(ctx, c, args, false) })
		}),
	}
}

// setDrained changes the nodes' records, each as it is found. A name that is wrong keeps
// no other node from being changed.
func (a *app) setDrained(ctx context.Context, c *client.Client, nodes []string, drained bool) error {
	word := "drained"
	if !drained {
		word = "takes traffic again"
	}
	var failures manyErrors
	for _, o := range nodeObjects(nodes) {
		err := putDrained(ctx, c, o.name, drained)
		switch {
		case err == nil:
			a.printf("%s %s\n", o, word)
		case mayPass(err), errors.Is(err, context.Canceled):
			return append(failures, objectError(o, err)).orNil()
		default:
			failures = append(failures, objectError(o, err))
		}
	}
	return failures.orNil()
}

func putDrained(ctx context.Context, c *client.Client, id string, drained bool) error {
	for try := 1; ; try++ {
		text, tag, err := c.NodeYAML(ctx, id)
		if err != nil {
			return err
		}
		docs, problems := resource.Decode(text, resource.DecodeOptions{})
		if len(problems) > 0 {
			return problems[0]
		}
		if len(docs) != 1 || docs[0].Resource.GetNode() == nil && docs[0].Resource.GetKind() != resource.Node {
			return fmt.Errorf("the server's answer is no node")
		}
		r := docs[0].Resource
		if r.GetNode() == nil {
			r.Spec = &fleetv1.Resource_Node{Node: &fleetv1.Node{}}
		}
		r.GetNode().Drained = nil
		if drained {
			r.GetNode().Drained = proto.Bool(true)
		}
		changed, err := resource.AppendYAML(nil, r)
		if err != nil {
			return err
		}
		_, err = c.PutNode(ctx, id, changed, client.Write{IfMatch: tag})
		var refused *api.Error
		if errors.As(err, &refused) && refused.Status == http.StatusPreconditionFailed && try < maxDrainRetries {
			continue
		}
		return err
	}
}

// waitDrained waits until the nodes say that they have no connection left.
func (a *app) waitDrained(ctx context.Context, c *client.Client, nodes []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	looks, stop := watchFleet(ctx, c)
	defer stop()
	before := map[string]time.Time{}
	last := "nothing is heard of the nodes"
	for {
		open := ""
		for _, id := range nodes {
			n, err := c.Node(ctx, id)
			switch {
			case err == nil:
				open = cmp.Or(busy(n, before), open)
			case ctx.Err() != nil:
			case mayPass(err):
				open = "nothing is heard of " + id
			default:
				return err
			}
		}
		switch {
		case ctx.Err() != nil: // this look may have seen nothing
		case open == "":
			return nil
		default:
			last = open
		}
		select {
		case <-looks:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("%w; the nodes stay drained", context.Canceled)
			}
			return fmt.Errorf("after %s %s; the nodes stay drained", timeout, last)
		}
	}
}

// busy is why a node cannot be said to be without connections; empty: it is. A count
// from before the drain says nothing, and neither does a node that is not connected: it
// may serve, and not know that it is drained. before is when each was heard last at
// the first look.
func busy(n api.NodeStatus, before map[string]time.Time) string {
	var heard time.Time
	if n.LastSeen != nil {
		heard = *n.LastSeen
	}
	first, looked := before[n.ID]
	if !looked {
		first, before[n.ID] = heard, heard
	}
	switch {
	case !n.Connected:
		return n.ID + " is not connected"
	case n.DrainReported != nil && !*n.DrainReported: // it hands over first, and answers meanwhile
		return n.ID + " is not drained yet"
	case n.Connections > 0:
		return fmt.Sprintf("%s has %d connections", n.ID, n.Connections)
	case !heard.After(first) || n.UptimeSeconds == 0: // it says its numbers after its Hello
		return n.ID + " has not said how many connections it has"
	}
	return ""
}
