package main

import (
	"fmt"
	"io"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/cobra"
)

const lintHelp = `Compiles a file of resources as a node would, without serving it, and tells what
is wrong with it and what is allowed and was hardly meant: routes that can never
get a request, routes that are told apart by their names alone, upstreams that get
no requests. What the resources refer to must be in the file; a key may be its
fingerprint, as where what runs is shown. Nothing is asked of a control plane.

Exit status: 0 nothing to say; 1 there are problems or warnings; 2 wrong use.`

const lintExamples = `  proxy-dataplane lint -f shop.yaml

  # What a fleet runs now:
  curl -s '127.0.0.1:7402/config?full&format=yaml' >now.yaml && proxy-dataplane lint -f now.yaml`

// newLintCommand is proxy-dataplane lint. It stands here and not in proxyctl, which
// speaks REST and knows nothing of how resources are compiled.
func newLintCommand(w world) *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:     "lint -f FILE",
		Short:   "Say what is wrong or doubtful in a file of resources",
		Long:    lintHelp,
		Example: lintExamples,
		RunE: func(_ *cobra.Command, args []string) error {
			if file == "" || len(args) > 0 {
				return settings.Usage("lint: expected -f FILE and nothing else, as in lint -f shop.yaml")
			}
			clean, err := lint(file, w.stdout)
			if err != nil {
				return settings.Usage("lint: %v", err)
			}
			if !clean {
				return errFailed
			}
			return nil
		},
	}
	command.Flags().StringVarP(&file, "file", "f", "", "`FILE` of resources, YAML or JSON")
	return command
}

// lint prints what there is to say of a file; clean: nothing.
func lint(file string, out io.Writer) (clean bool, err error) {
	result, err := compileFile(file, out)
	if result == nil || err != nil {
		return false, err
	}
	warnings := compile.Lint(result)
	for _, warning := range warnings {
		if _, err := fmt.Fprintf(out, "%s: warning: %s\n", file, warning); err != nil {
			return false, err
		}
	}
	return len(warnings) == 0, nil
}

// compileFile makes of a file what a node would. Where it is not accepted it prints why,
// and the result is nil.
func compileFile(file string, out io.Writer) (*compile.Result, error) {
	from := &standalone{path: file}
	resources, problems, err := from.read()
	if err != nil {
		return nil, err
	}
	var result *compile.Result
	if len(problems) == 0 {
		if resources, err = withStandIns(resources); err != nil {
			return nil, err
		}
		result, problems = compile.Compile(permit.New(computing), nil, resources, table.Version{})
	}
	if len(problems) > 0 {
		_, err := fmt.Fprintln(out, list(file, problems))
		return nil, err
	}
	return result, nil
}
