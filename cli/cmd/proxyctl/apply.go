package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

const (
	// maxChangedLines bounds how many resources a change names one by one.
	maxChangedLines = 100
	// defaultWait is how long --wait waits for the nodes.
	defaultWait = time.Minute
)

// writeFlags are the flags of every command that makes a change.
type writeFlags struct {
	client.Write
	wait    bool
	timeout time.Duration
}

func (f *writeFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.DryRun, "dry-run", false, "check everything and say what would change, but change nothing")
	flags.StringVarP(&f.Message, "message", "m", "", "note for the history")
	flags.BoolVar(&f.AllowShrink, "allow-shrink", false, "allow a change that removes more than half of the configuration")
	flags.BoolVar(&f.wait, "wait", false, "wait until every node runs the change")
	flags.DurationVar(&f.timeout, "timeout", defaultWait, "with --wait: how long")
}

func (f *writeFlags) check() error {
	if f.timeout <= 0 {
		return wrongUse("--timeout %s: expected more than 0", f.timeout)
	}
	if f.wait && f.DryRun {
		return wrongUse("--wait and --dry-run exclude each other")
	}
	if len(f.Message) > api.MaxMessage {
		return wrongUse("--message: %d bytes, expected at most %d", len(f.Message), api.MaxMessage)
	}
	return nil
}

func (a *app) applyCommand() *cobra.Command {
	var files []string
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE…",
		Short: "Make the fleet have the resources of files",
		Long: `Make the fleet have the resources of files: each one that they name is created
or replaced whole, all others stay. It is one change, made whole or not at all.

A folder stands for its *.yaml, *.yml and *.json, sorted by name; - is standard
input. With --wait the command ends when every node runs the change, and fails
if a node refuses it or the time is up; the change stays made.`,
		Example: `  proxyctl apply -f shop.yaml
  proxyctl apply -f conf.d/ -f extra.json -m "spring sale" --wait
  proxyctl apply -f shop.yaml --dry-run
  generate-routes | proxyctl apply -f -
  proxyctl apply -f shop.yaml --if-match 7-41   # only if nothing changed since`,
		Args: filesOnly,
		RunE: runner(func(ctx context.Context, _ []string) error {
			return a.sendFiles(ctx, files, flags, (*client.Client).Apply)
		}),
	}
	addFiles(cmd, &files)
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.IfMatch, "if-match", "", "change only if the fleet is at EPOCH-REVISION, such as 7-41")
	offer(cmd)
	return cmd
}

// sendFiles makes a change of what files hold.
func (a *app) sendFiles(
	ctx context.Context, files []string, flags writeFlags,
	send func(c *client.Client, ctx context.Context, documents []byte, w client.Write) (api.ApplyResult, error),
) error {
	if err := flags.check(); err != nil {
		return err
	}
	docs, err := a.readDocuments(ctx, files)
	if err != nil {
		return err
	}
	return a.withClient(func(c *client.Client) error {
		result, err := send(c, ctx, docs.body, flags.Write)
		if err != nil {
			return docs.explain(err)
		}
		return a.changed(ctx, c, result, flags)
	})
}

// filesOnly refuses arguments of a command that takes files by flag.
func filesOnly(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q: expected -f in front of it", args[0])
	}
	return nil
}

// addFiles adds the flag -f.
func addFiles(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "file, folder or - with resources in YAML or JSON; may be repeated")
	// Any file or folder completes.
	_ = cmd.MarkFlagFilename("filename", "yaml", "yml", "json")
}

// changed reports a change and, if asked to, waits for the nodes.
func (a *app) changed(ctx context.Context, c *client.Client, result api.ApplyResult, flags writeFlags) error {
	if err := a.show(result, func() { a.printChange(result) }); err != nil {
		return err
	}
	if !flags.wait {
		return nil
	}
	return a.waitForNodes(ctx, c, result.Version, flags.timeout)
}

func (a *app) printChange(result api.ApplyResult) {
	on := a.colours(a.stdout)
	counts := map[api.Action]int{}
	lines := 0
	for _, x := range result.Changed {
		counts[x.Action]++
		if x.Action == api.Unchanged {
			continue
		}
		if lines++; lines <= maxChangedLines {
			a.printf("%s/%s %s\n", x.Kind, visible(x.Name), paint(on, actionColour(x.Action), string(x.Action)))
		}
	}
	if lines > maxChangedLines {
		a.printf("… and %d more\n", lines-maxChangedLines)
	}
	var more strings.Builder
	writeKept(&more, result.Kept, on)
	writeWarnings(&more, result.Warnings, on)
	a.printf("%s", more.String())
	revision := strconv.FormatUint(result.Revision, 10)
	switch {
	case lines == 0:
		a.printf("nothing changes: revision %s (%s)\n", revision, countActions(counts))
	case result.DryRun:
		a.printf("dry run: nothing was changed; after revision %s it would be %s\n", revision, countActions(counts))
	default:
		a.printf("revision %s (%s)\n", revision, countActions(counts))
	}
}

func countActions(counts map[api.Action]int) string {
	var texts []string
	for _, action := range []api.Action{api.Created, api.Configured, api.Deleted, api.Unchanged} {
		if n := counts[action]; n > 0 {
			texts = append(texts, strconv.Itoa(n)+" "+string(action))
		}
	}
	if len(texts) == 0 {
		return "no difference"
	}
	return strings.Join(texts, ", ")
}

func actionColour(action api.Action) colour {
	switch action {
	case api.Created:
		return green
	case api.Configured:
		return yellow
	case api.Deleted:
		return red
	default:
		return plain
	}
}
