package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/filefeed"
	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/resource"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/proxyfleet/proxyfleet/proto/tree"
	"github.com/spf13/cobra"
)

const lintHelp = `Compiles a file of resources as a node would, without serving it, and tells what
is wrong with it and what is allowed and was hardly meant: routes that can never
get a request, routes that are told apart by their names alone, upstreams that get
no requests. What the resources refer to must be in the file; a key may be its
fingerprint, as where what runs is shown. Nothing is asked of a control plane.

Exit status: 0 nothing to say; 1 there are problems or warnings; 2 wrong use.`

const lintExamples = `  proxy-dataplane lint -f shop.yaml
  generate-routes | proxy-dataplane lint -f -

  # What a fleet runs now:
  curl -s '127.0.0.1:7402/config?full&format=yaml' >now.yaml && proxy-dataplane lint -f now.yaml`

// newLintCommand is proxy-dataplane lint. It stands here and not in proxyctl, which
// speaks REST and knows nothing of how resources are compiled.
func newLintCommand(w world) *cobra.Command {
	var files []string
	command := &cobra.Command{
		Use:     "lint -f FILE",
		Short:   "Say what is wrong or doubtful in a file of resources",
		Long:    lintHelp,
		Example: lintExamples,
		RunE: func(c *cobra.Command, args []string) error {
			if len(files) != 1 || files[0] == "" || len(args) > 0 {
				return settings.Usage("lint: expected -f FILE and nothing else, as in lint -f shop.yaml")
			}
			clean, err := lint(c.Context(), files[0], w)
			if err != nil {
				return unread("lint", err)
			}
			if !clean {
				return errFailed
			}
			return nil
		},
	}
	addFile(command, &files)
	return command
}

// addFile adds the flag -f. It is a list so that a second file is refused, and not taken
// in the place of the first.
func addFile(command *cobra.Command, files *[]string) {
	command.Flags().StringArrayVarP(files, "file", "f", nil, "`FILE` of resources, YAML or JSON; - is standard input")
}

// unread is the error of a command whose file could not be read.
func unread(command string, err error) error {
	if errors.Is(err, errFailed) {
		return err
	}
	return settings.Usage("%s: %v", command, err)
}

// lint prints what there is to say of a file; clean: nothing.
func lint(ctx context.Context, file string, w world) (clean bool, err error) {
	result, err := compileFile(ctx, file, w)
	if result == nil || err != nil {
		return false, err
	}
	warnings := compile.Lint(result)
	for _, warning := range warnings {
		if _, err := fmt.Fprintf(w.stdout, "%s: warning: %s\n", nameOf(file), warning); err != nil {
			return false, err
		}
	}
	return len(warnings) == 0, nil
}

// compileFile makes of a file what a node would. Where it is not accepted it prints why,
// and the result is nil.
func compileFile(ctx context.Context, file string, w world) (*compile.Result, error) {
	resources, problems, err := readFile(ctx, file, w.stdin)
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
		_, err := fmt.Fprintln(w.stdout, filefeed.Describe(nameOf(file), problems))
		return nil, err
	}
	return result, nil
}

// stdinFile is the name by which standard input is asked for.
const stdinFile = "-"

// nameOf is how messages name a file.
func nameOf(file string) string {
	if file == stdinFile {
		return "stdin"
	}
	return file
}

// readFile reads and decodes a file, or standard input. What that names is beside the user.
func readFile(ctx context.Context, file string, stdin io.Reader) (tree.Tree, []resource.Problem, error) {
	if file != stdinFile {
		return filefeed.Read(file)
	}
	text, err := readStdin(ctx, stdin)
	if err != nil {
		return tree.Tree{}, nil, fmt.Errorf("%s: %w", nameOf(file), err)
	}
	return filefeed.Decode(nameOf(file), text)
}

// readStdin reads standard input, which may be a terminal at which nobody types: a read
// ends for no context, but the command does, and with it what reads.
func readStdin(ctx context.Context, stdin io.Reader) ([]byte, error) {
	type input struct {
		text []byte
		err  error
	}
	read := make(chan input, 1)
	go func() {
		text, err := io.ReadAll(stdin)
		read <- input{text, err}
	}()
	select {
	case in := <-read:
		return in.text, in.err
	case <-ctx.Done():
		return nil, errFailed // as who did it knows
	}
}
