package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) vipCommand() *cobra.Command {
	cmd := a.vipShowCommand()
	cmd.Use = "vip [NAME…]"
	cmd.Aliases = []string{"vips"}
	list := a.vipShowCommand()
	list.Use, list.Aliases, list.Args, list.ValidArgsFunction = "list", []string{"ls"}, takes(0, 0), nil
	list.Short = "List virtual IPs with their holders"
	list.Example = "  proxyctl vip list -o wide"
	cmd.AddCommand(list)
	return cmd
}

func (a *app) vipShowCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Short: "Show who holds the virtual IPs, and how every node sees that",
		Long: `Show who holds the virtual IPs, since when, and by what right: how many of the
expected members are alive, how many are needed, and the partition policy in force.
With a name, or -o wide, also how each node sees it.

A virtual IP is held by the node to which a majority of the expected members
granted it: more than half of the list, whoever of them is there. proxyctl edit
node/NAME changes whether a node is expected; proxyctl nodes delete takes out one
that is gone for good.

The exit status is 0 if each virtual IP has one holder, and 1 if not.`,
		Example: `  proxyctl vip
  proxyctl vip shop
  proxyctl vip --watch
  proxyctl vip -o json | jq '.items[].holder'`,
		ValidArgsFunction: a.completeVIPs,
		RunE: runner(func(ctx context.Context, args []string) error {
			return a.withClient(func(c *client.Client) error {
				show := vipView{names: args, nodes: len(args) > 0 || a.output == formatWide}
				if watch {
					return a.watchVIPs(ctx, c, show)
				}
				list, err := show.read(ctx, c)
				if err != nil {
					return err
				}
				if err := a.show(list, func() { a.printf("%s", a.vipText(list, show.nodes)) }); err != nil {
					return err
				}
				if !allHeld(list) {
					return &quietError{statusFailed}
				}
				return nil
			})
		}),
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show them again whenever something changes, until Ctrl-C")
	offer(cmd, formatWide)
	return cmd
}

func (a *app) completeVIPs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeNames(cmd, resource.KindInfo{Kind: resource.VirtualIP, Plural: "virtualips"}, "", args)
}

// vipView is what is shown of the virtual IPs.
type vipView struct {
	names []string // none: all
	nodes bool     // with how each node sees it
}

func (v vipView) read(ctx context.Context, c *client.Client) (api.VIPList, error) {
	if len(v.names) == 0 {
		return c.VIPs(ctx)
	}
	var list api.VIPList
	for _, name := range v.names {
		one, err := c.VIP(ctx, name)
		if err != nil {
			return list, err
		}
		list.Items = append(list.Items, one)
	}
	return list, nil
}

func allHeld(list api.VIPList) bool {
	for _, v := range list.Items {
		if v.Holder == "" {
			return false
		}
	}
	return true
}

// watchVIPs shows the virtual IPs until the context ends, as watchStatus does.
func (a *app) watchVIPs(ctx context.Context, c *client.Client, show vipView) error {
	if err := a.watched(); err != nil {
		return err
	}
	looks, stop := watchFleet(ctx, c)
	defer stop()
	shown := ""
	for {
		list, err := show.read(ctx, c)
		text := ""
		switch {
		case err == nil:
			text = a.vipText(list, show.nodes)
		case ctx.Err() != nil:
			return nil // Ctrl-C is how one leaves
		case mayPass(err) && shown != "":
			text = paint(a.colours(a.stdout), red, errorText(err)) + "\n" // it may come back
		default:
			return err
		}
		switch {
		case a.terminal(a.stdout):
			a.printf("\x1b[H\x1b[2J%s", text)
		case vipMark(list) != shown || err != nil:
			a.printf("%s", text)
		}
		shown = vipMark(list)
		select {
		case <-looks:
		case <-ctx.Done():
			return nil
		}
	}
}

// vipMark changes when something happened, other than time.
func vipMark(list api.VIPList) string {
	var b strings.Builder
	for _, v := range list.Items {
		fmt.Fprintf(&b, "%s %s %d %s\n", v.Name, v.Holder, v.Term, strings.Join(v.Problems, ";"))
	}
	return b.String() + "."
}

// vipText is the virtual IPs for people.
func (a *app) vipText(list api.VIPList, nodes bool) string {
	if len(list.Items) == 0 {
		return "There is no virtual IP.\n"
	}
	on := a.colours(a.stdout)
	wide := a.output == formatWide
	header := []string{"NAME", "ADDRESS", "HOLDER", "SINCE", "MEMBERS", "POLICY"}
	if wide {
		header = append(header, "TERM")
	}
	rows := make([][]cell, 0, len(list.Items))
	for _, v := range list.Items {
		cells := []cell{{text: v.Name}, {text: v.Address}, holderCell(v), {text: ago(v.Since, a.now())}, {text: aliveText(v)}, {text: v.Policy}}
		if wide {
			cells = append(cells, cell{text: termText(v.Term)})
		}
		rows = append(rows, cells)
	}
	var b strings.Builder
	b.WriteString(tableText(on, header, rows))
	writePolicies(&b, list.Items)
	writeVIPProblems(&b, list.Items, on)
	if nodes {
		for _, v := range list.Items {
			fmt.Fprintf(&b, "\n%s\n%s", paint(on, bold, visible(v.Name)), nodesOfVIP(v, wide, on, a.now()))
		}
	}
	return b.String()
}

func holderCell(v api.VIPStatus) cell {
	switch {
	case len(v.Holders) > 0:
		return cell{strings.Join(v.Holders, " AND "), red}
	case v.SeenHolder() != "":
		return cell{v.SeenHolder() + "?", yellow}
	case v.Holder == "" && v.Expected == 0: // no node reports
		return cell{"unknown", red}
	case v.Holder == "":
		return cell{"nobody", red}
	case len(v.Problems) > 0:
		return cell{v.Holder, yellow}
	}
	return cell{v.Holder, green}
}

func termText(term uint64) string {
	if term == 0 {
		return ""
	}
	return fmt.Sprint(term)
}

// aliveText is "alive 3 of 6 expected, 4 needed".
func aliveText(v api.VIPStatus) string {
	if v.Expected == 0 {
		return ""
	}
	return fmt.Sprintf("alive %d of %d expected, %d needed", v.Alive, v.Expected, v.Needed)
}

// writePolicies tells why partition policies are in force that nobody wrote.
func writePolicies(b *strings.Builder, vips []api.VIPStatus) {
	before := "\n"
	for _, v := range vips {
		if v.Why != "" {
			fmt.Fprintf(b, "%sVirtualIP/%s: %s: %s\n", before, visible(v.Name), visible(v.Policy), visible(v.Why))
			before = ""
		}
	}
}

// writeVIPProblems lists what is wrong with virtual IPs.
func writeVIPProblems(b *strings.Builder, vips []api.VIPStatus, colour bool) {
	for _, v := range vips {
		for i, p := range v.Problems {
			if i == 0 {
				b.WriteByte('\n')
			}
			if i == maxProblemsListed {
				fmt.Fprintf(b, "  … and %d more\n", len(v.Problems)-i)
				break
			}
			fmt.Fprintf(b, "%s: %s\n", paint(colour, red, "VirtualIP/"+visible(v.Name)), visible(p))
		}
	}
}

// nodesOfVIP is how each node sees one.
func nodesOfVIP(v api.VIPStatus, wide, colour bool, now time.Time) string {
	header := []string{"NODE", "STATE", "SINCE", "SEES HOLDER", "ALIVE"}
	if wide {
		header = append(header, "TERM", "POLICY", "LIST")
	}
	var rows [][]cell
	var reasons strings.Builder
	for _, n := range v.Nodes {
		state := plain
		switch {
		case n.Holds && v.Holder == n.Node:
			state = green
		case n.Holds || n.Conflict != "" || n.State == api.VIPUnknown:
			state = red
		}
		members, list := "", ""
		if n.Expected > 0 {
			members = fmt.Sprintf("%d of %d, %d needed", n.Alive, n.Expected, n.Needed)
			list = fmt.Sprint(n.ListRevision)
		}
		text := string(n.State)
		if n.Stale {
			text, state = fmt.Sprintf("%s (stale, said %s)", text, ago(&n.Reported, now)), yellow
		}
		cells := []cell{{text: n.Node}, {text, state}, {text: ago(n.Since, now)}, {text: n.Holder}, {text: members}}
		if wide {
			cells = append(cells, row(termText(n.Term), n.Policy, list)...)
		}
		rows = append(rows, cells)
		if n.Conflict != "" {
			fmt.Fprintf(&reasons, "%s %s\n", paint(colour, red, visible(n.Node)+" sees a conflict:"), visible(n.Conflict))
		}
		if n.NotEligible != "" {
			fmt.Fprintf(&reasons, "%s %s\n", paint(colour, yellow, visible(n.Node)+" is not eligible:"), visible(n.NotEligible))
		}
	}
	return tableText(colour, header, rows) + reasons.String()
}
