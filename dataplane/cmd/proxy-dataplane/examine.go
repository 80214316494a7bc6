package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/proxyfleet/proxyfleet/dataplane/compile"
	"github.com/proxyfleet/proxyfleet/dataplane/filefeed"
	"github.com/proxyfleet/proxyfleet/dataplane/permit"
	"github.com/proxyfleet/proxyfleet/dataplane/table"
	"github.com/proxyfleet/proxyfleet/proto/input"
	"github.com/proxyfleet/proxyfleet/proto/settings"
	"github.com/spf13/cobra"
)

// What lint and explain have in common: they make of files what a node would.

// addFiles adds the flag -f.
func addFiles(command *cobra.Command, files *[]string) {
	command.Flags().StringArrayVarP(files, "file", "f", nil, "`FILE` or folder of resources, YAML or JSON; - is standard input; may be repeated")
}

// unread is the error of a command whose files could not be read. Whoever interrupted it
// knows that.
func unread(command string, err error) error {
	if errors.Is(err, context.Canceled) {
		return errFailed
	}
	return settings.Usage("%s: %v", command, err)
}

// compiled is what a node would make of files.
type compiled struct {
	decoded filefeed.Decoded
	result  *compile.Result
}

// compileFiles makes of files what a node would. Where they are not accepted it prints
// why, and the result is nil.
func compileFiles(ctx context.Context, files []string, w world) (*compiled, error) {
	var texts []filefeed.Text
	// One byte more than is accepted is too many, as is told.
	err := input.Each(ctx, files, w.stdin, filefeed.MaxText+1, func(name string, data []byte) error {
		texts = append(texts, filefeed.Text{Name: name, Data: data})
		return nil
	})
	if err != nil {
		return nil, err
	}
	decoded, problems, err := filefeed.Decode(texts...)
	if err != nil {
		return nil, err
	}
	c := &compiled{decoded: decoded}
	if len(problems) == 0 {
		resources, err := withStandIns(decoded.Tree)
		if err != nil {
			return nil, err
		}
		c.result, problems = compile.Compile(permit.New(computing), nil, resources, table.Version{})
	}
	if len(problems) > 0 {
		_, err := fmt.Fprintln(w.stdout, filefeed.Describe(nameOf(files), c.decoded.Locate(problems)))
		return nil, err
	}
	return c, nil
}

// nameOf is how messages name what -f was given.
func nameOf(files []string) string {
	names := slices.Clone(files)
	for i := range names {
		if names[i] == input.Stdin {
			names[i] = input.StdinName
		}
	}
	if more := len(names) - maxNamed; more > 1 {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// maxNamed is how many files a message names.
const maxNamed = 5
