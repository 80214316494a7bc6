package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/cli/textdiff"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

func (a *app) diffCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "diff -f FILE… | REVISION [REVISION]",
		Short: "Show what apply would change, or what differs between two revisions",
		Long: `Show what apply would change, or what differs between two revisions (the second
is the current one if it is left out), as a unified diff of the resources' YAML.

Exit status: 0 the same, 1 there are differences, 2 wrong use, 3 it failed or the
files were refused, 4 no control plane answers.`,
		Example: `  proxyctl diff -f shop.yaml
  proxyctl diff -f shop.yaml && echo nothing to do
  proxyctl diff 41
  proxyctl diff 41 44`,
		Args:              takes(0, 2),
		ValidArgsFunction: a.completeRevisions,
		RunE: runner(func(ctx context.Context, args []string) error {
			if (len(files) > 0) == (len(args) > 0) {
				return wrongUse("expected -f FILE or a REVISION")
			}
			var d api.Diff
			err := a.withClient(func(c *client.Client) (err error) {
				if len(args) > 0 {
					d, err = a.diffRevisions(ctx, c, args)
				} else {
					d, err = a.diffFiles(ctx, c, files)
				}
				return err
			})
			if err != nil {
				return &statusError{statusCannotCompare, err}
			}
			if err := a.show(d, func() { a.printDiff(d) }); err != nil {
				return &statusError{statusCannotCompare, err}
			}
			if d.Created+d.Configured+d.Deleted > 0 {
				return &quietError{statusFailed}
			}
			return nil
		}),
	}
	addFiles(cmd, &files)
	offer(cmd)
	return cmd
}

func (a *app) diffFiles(ctx context.Context, c *client.Client, files []string) (api.Diff, error) {
	docs, err := a.readDocuments(ctx, files)
	if err != nil {
		return api.Diff{}, err
	}
	d, err := c.Diff(ctx, docs.body)
	return d, docs.explain(err)
}

func (a *app) diffRevisions(ctx context.Context, c *client.Client, args []string) (api.Diff, error) {
	var revisions [2]uint64
	for i, arg := range args {
		n, err := parseRevision(arg)
		if err != nil {
			return api.Diff{}, err
		}
		if n == 0 && i == 1 {
			return api.Diff{}, wrongUse("revision 0: expected one above 0, or none for the current one")
		}
		revisions[i] = n
	}
	return c.DiffRevisions(ctx, revisions[0], revisions[1])
}

func (a *app) printDiff(d api.Diff) {
	on := a.colours(a.stdout)
	from := fmt.Sprintf("revision %d", d.From.Revision)
	to := "files"
	if d.To.Revision > 0 {
		to = fmt.Sprintf("revision %d", d.To.Revision)
	}
	for _, e := range d.Entries {
		a.printf("%s", paintDiff(on, entryDiff(e, from, to)))
	}
	if d.Truncated {
		a.note("%d more are not shown", d.Created+d.Configured+d.Deleted-len(d.Entries))
	}
	if d.Created+d.Configured+d.Deleted > 0 {
		a.note("%d created, %d configured, %d deleted", d.Created, d.Configured, d.Deleted)
	}
}

// entryDiff is the unified diff of one resource.
func entryDiff(e api.DiffEntry, from, to string) string {
	name := resourceName(e.Kind, e.Name)
	before, after := name+"\t"+from, name+"\t"+to
	if e.Before == "" {
		before = "/dev/null"
	}
	if e.After == "" {
		after = "/dev/null"
	}
	return textdiff.Unified(before, after, e.Before, e.After)
}

// paintDiff colours a unified diff line by line.
func paintDiff(on bool, text string) string {
	if !on {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		c := plain
		switch {
		case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "):
			c = bold
		case strings.HasPrefix(line, "@@"):
			c = cyan
		case strings.HasPrefix(line, "-"):
			c = red
		case strings.HasPrefix(line, "+"):
			c = green
		}
		b.WriteString(paint(true, c, line) + "\n")
	}
	return b.String()
}

// isRefused reports whether the control plane answered with an error of the type.
func isRefused(err error, t api.ErrorType) bool {
	var refused *api.Error
	return errors.As(err, &refused) && refused.Type == t
}
