package main

import (
	"context"
	"fmt"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/cobra"
)

const lintHelp = `Compiles resources as a node would, without serving them, and tells what is wrong
with them and what is allowed and was hardly meant: routes that can never get a
request, routes that are told apart by their names alone, hosts that no certificate of
their listener has, certificates that have expired, are not valid yet or end within 14
days, upstreams that get no requests. Several files are one configuration, and a folder stands for its *.yaml,
*.yml and *.json, sorted by name. What the resources refer to must be among them; a
key may be its fingerprint, as where what runs is shown. Nothing is asked of a
control plane.

Exit status: 0 nothing to say; 1 there are problems or warnings; 2 wrong use.`

const lintExamples = `  proxy-dataplane lint -f shop.yaml
  proxy-dataplane lint -f conf.d/ -f extra.json
  generate-routes | proxy-dataplane lint -f -

  # What a fleet runs now:
  curl -s '127.0.0.1:7402/config?full&format=yaml' >now.yaml && proxy-dataplane lint -f now.yaml`

// newLintCommand is proxy-dataplane lint. It stands here and not in proxyctl, which
// speaks REST and knows nothing of how resources are compiled.
func newLintCommand(w world) *cobra.Command {
	var files []string
	command := &cobra.Command{
		Use:     "lint -f FILE…",
		Short:   "Say what is wrong or doubtful in files of resources",
		Long:    lintHelp,
		Example: lintExamples,
		RunE: func(c *cobra.Command, args []string) error {
			if len(files) == 0 || len(args) > 0 {
				return settings.Usage("lint: expected -f FILE and nothing else, as in lint -f shop.yaml")
			}
			clean, err := lint(c.Context(), files, w)
			if err != nil {
				return unread("lint", err)
			}
			if !clean {
				return errFailed
			}
			return nil
		},
	}
	addFiles(command, &files)
	return command
}

// lint prints what there is to say of files; clean: nothing.
func lint(ctx context.Context, files []string, w world) (clean bool, err error) {
	c, err := compileFiles(ctx, files, w)
	if c == nil || err != nil {
		return false, err
	}
	warnings := compile.Lint(c.result, time.Now())
	for _, warning := range warnings {
		at := c.decoded.Locate([]resource.Problem{{Kind: warning.Kind, Name: warning.Name, Field: warning.Field}})[0]
		if _, err := fmt.Fprintf(w.stdout, "%s:%d: warning: %s\n", at.File, at.Line, warning); err != nil {
			return false, err
		}
	}
	return len(warnings) == 0, nil
}
