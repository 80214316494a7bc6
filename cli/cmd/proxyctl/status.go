package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

// maxProblemsListed bounds how many problems of one node a status shows.
const maxProblemsListed = 20

// fleet is what status shows.
type fleet struct {
	api.Status
	Items []api.NodeStatus `json:"items"`
	// VIPs are the virtual IPs with which something is wrong.
	VIPs   []api.VIPStatus `json:"virtualIPProblems,omitempty"`
	InSync bool            `json:"inSync"`
}

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the fleet: the wanted revision, and what each node runs and why",
		Long: `Show the fleet: the wanted revision, and for each node what it should run, what
it runs and why they differ. The exit status is 0 if every node is in sync and 1
if not. A node that is neither connected nor expected does not count.`,
		Example: `  proxyctl status
  proxyctl status --watch
  proxyctl status -o json | jq .nodes`,
		Args: takes(0, 0),
		RunE: runner(func(ctx context.Context, _ []string) error {
			return a.withClient(func(c *client.Client) error {
				if watch {
					return a.watchStatus(ctx, c)
				}
				f, err := readFleet(ctx, c)
				if err != nil {
					return err
				}
				if err := a.show(f, func() { a.printf("%s", a.fleetText(f)) }); err != nil {
					return err
				}
				if !f.InSync {
					return &quietError{statusFailed}
				}
				return nil
			})
		}),
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again whenever it changes, until Ctrl-C")
	offer(cmd, formatWide)
	return cmd
}

func readFleet(ctx context.Context, c *client.Client) (fleet, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return fleet{}, err
	}
	nodes, err := c.Nodes(ctx)
	if err != nil {
		return fleet{}, err
	}
	vips, err := c.VIPs(ctx)
	if err != nil {
		return fleet{}, err
	}
	f := fleet{Status: status, Items: nodes.Items, InSync: true}
	for _, v := range vips.Items {
		if len(v.Problems) > 0 {
			f.VIPs = append(f.VIPs, v)
		}
	}
	for _, n := range nodes.Items {
		if counts(n) && n.State != api.Synced {
			f.InSync = false
		}
	}
	return f, nil
}

// watchStatus shows the status until the context ends. On a terminal the new
// one takes the place of the old one; elsewhere it is printed again when a
// revision or a state changed.
func (a *app) watchStatus(ctx context.Context, c *client.Client) error {
	if err := a.watched(); err != nil {
		return err
	}
	looks, stop := watchFleet(ctx, c)
	defer stop()
	terminal := a.terminal(a.stdout)
	shown := ""
	for {
		f, err := readFleet(ctx, c)
		var text, mark string
		switch {
		case err == nil:
			text, mark = a.fleetText(f), fleetMark(f)
		case ctx.Err() != nil:
			return nil // Ctrl-C is how one leaves
		case mayPass(err) && shown != "":
			text = paint(a.colours(a.stdout), red, errorText(err)) + "\n" // it may come back
			mark = text
		default:
			return err
		}
		switch {
		case terminal:
			a.printf("\x1b[H\x1b[2J%s", text)
		case mark != shown && shown != "":
			a.printf("\n%s", text)
		case mark != shown:
			a.printf("%s", text)
		}
		shown = mark
		select {
		case <-looks:
		case <-ctx.Done():
			return nil
		}
	}
}

// fleetMark changes when something happened, other than time and traffic.
func fleetMark(f fleet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %v", f.Revision, f.ConfiguredAsOf != nil)
	for _, n := range f.Items {
		fmt.Fprintf(&b, " %s %s %t %d %s", n.ID, n.State, n.Drained, n.Wanted.Revision, runningText(n))
	}
	b.WriteString(vipMark(api.VIPList{Items: f.VIPs}))
	return b.String()
}

// fleetText is the status for people.
func (a *app) fleetText(f fleet) string {
	var b strings.Builder
	on := a.colours(a.stdout)
	fmt.Fprintf(&b, "%s %d", paint(on, bold, "revision"), f.Revision)
	if last := f.LastChange; last != nil {
		at := last.Time
		fmt.Fprintf(&b, ", %s by %s", ago(&at, a.now()), visible(last.Author))
		if last.Message != "" {
			fmt.Fprintf(&b, ": %s", visible(last.Message))
		}
	}
	b.WriteByte('\n')
	if f.ConfiguredAsOf != nil {
		fmt.Fprintf(&b, "%s etcd does not answer the control plane: what is wanted is as it was %s; what nodes run they say themselves\n",
			paint(on, yellow, "warning:"), ago(f.ConfiguredAsOf, a.now()))
	}
	fmt.Fprintf(&b, "%s  %s\n", paint(on, bold, "content"), resourceCounts(f.Resources))
	fmt.Fprintf(&b, "%s    %s\n", paint(on, bold, "nodes"), nodeCounts(f.Items))
	if len(f.ControlPlanes) > 1 {
		fmt.Fprintf(&b, "%s   %s\n", paint(on, bold, "planes"), planeCounts(f.ControlPlanes))
	}
	writeWarnings(&b, f.Warnings, on)
	b.WriteByte('\n')
	if len(f.Items) == 0 {
		b.WriteString("No node has said hello yet.\n")
		return b.String()
	}
	header, rows := fleetTable(f.Items, a.output == formatWide, a.now())
	b.WriteString(tableText(on, header, rows))
	writeReasons(&b, f.Items, on)
	writeVIPProblems(&b, f.VIPs, on)
	writeHeld(&b, f.Epoch, holding(f.Items), on)
	return b.String()
}

// fleetTable is the nodes with the reasons of their states. Wide, it has all that the
// table of nodes has.
func fleetTable(nodes []api.NodeStatus, wide bool, now time.Time) (header []string, rows [][]cell) {
	if wide {
		var items []item
		for _, n := range nodes {
			items = append(items, item{name: n.ID, labels: n.Labels, node: &n})
		}
		header, rows = nodeTable(items, true, now)
	} else {
		header = []string{"NODE", "STATE", "RUNNING", "CONNECTIONS"}
		for _, n := range nodes {
			rows = append(rows, []cell{{text: n.ID}, stateCell(n), {text: runningText(n)}, {text: countText(n, n.Connections, now)}})
		}
	}
	for i, n := range nodes {
		rows[i] = append(rows[i], cell{text: reason(n, now)})
	}
	return append(header, "REASON"), rows
}

// reason is why a node is not in sync, or carries nothing, in words that fit in a table.
func reason(n api.NodeStatus, now time.Time) string {
	switch n.State {
	case api.Synced:
		if n.Drained {
			return "until proxyctl undrain"
		}
		if undraining(n) {
			return "if that lasts, see its log"
		}
		return ""
	case api.Updating:
		return "is getting the wanted revision"
	case api.Rejected:
		return counted(len(n.Problems), "problem") + ", see below"
	case api.Held:
		return "holds the new epoch, see below"
	case api.Drift:
		return "its live table is another one"
	case api.Disconnected:
		if n.LastSeen != nil {
			return "last seen " + ago(n.LastSeen, now)
		}
		return "is not connected"
	default:
		return string(n.State)
	}
}

// undraining says that a node which is not drained any more still is by its own word: it
// listens again as soon as it can listen on all that it should.
func undraining(n api.NodeStatus) bool {
	return n.Connected && !n.Drained && n.DrainReported != nil && *n.DrainReported
}

// writeReasons lists the problems of nodes: mostly why they refuse.
func writeReasons(b *strings.Builder, nodes []api.NodeStatus, colour bool) {
	for _, n := range nodes {
		if n.State == api.Held {
			// What is wrong with no resource is the loss, which writeHeld tells.
			n.Problems = slices.DeleteFunc(slices.Clone(n.Problems), func(p api.Problem) bool { return p.Kind == "" })
		}
		if len(n.Problems) == 0 {
			continue
		}
		running := "nothing"
		if n.Running != nil {
			running = fmt.Sprintf("revision %d", n.Running.Revision)
		}
		if n.State == api.Synced { // something else is wrong, as with its name
			fmt.Fprintf(b, "\n%s serves %s, and:\n", paint(colour, yellow, visible(n.ID)), running)
		} else {
			fmt.Fprintf(b, "\n%s refuses revision %d and serves %s:\n", paint(colour, red, visible(n.ID)), n.Wanted.Revision, running)
		}
		for i, p := range n.Problems {
			if i == maxProblemsListed {
				fmt.Fprintf(b, "  … and %d more\n", len(n.Problems)-i)
				break
			}
			fmt.Fprintf(b, "  %s\n", problemLine(p, colour))
		}
	}
}

func resourceCounts(resources map[string]int) string {
	kinds := make([]string, 0, len(resources))
	for kind := range resources {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	var words []string
	for _, kind := range kinds {
		if resources[kind] > 0 {
			words = append(words, counted(resources[kind], kind))
		}
	}
	if len(words) == 0 {
		return "empty"
	}
	return strings.Join(words, ", ")
}

// planeCounts is which control planes there are, and how many nodes each one has.
func planeCounts(planes []api.ControlPlane) string {
	var words []string
	for _, p := range planes {
		words = append(words, fmt.Sprintf("%s with %s", visible(p.Name), counted(p.Nodes, "node")))
	}
	return strings.Join(words, ", ")
}

func nodeCounts(nodes []api.NodeStatus) string {
	synced, total, drained := 0, 0, 0
	for _, n := range nodes {
		if n.Drained {
			drained++
		}
		if counts(n) {
			total++
		}
		if counts(n) && n.State == api.Synced {
			synced++
		}
	}
	text := fmt.Sprintf("%d of %d in sync", synced, total)
	if drained > 0 {
		text += fmt.Sprintf(", %d drained", drained)
	}
	if away := len(nodes) - total; away > 0 {
		text += fmt.Sprintf(", %d neither connected nor expected", away)
	}
	return text
}
