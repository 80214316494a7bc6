package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

const (
	// completionTimeout bounds how long a Tab waits for the control plane.
	completionTimeout = time.Second
	// completionRevisions is how many revisions are offered.
	completionRevisions = 30
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Long: `Print the completion script of a shell. Names of resources, nodes, contexts and
revisions complete too, if a control plane answers within a second. That of bash
needs the package bash-completion.`,
		Example: `  source <(proxyctl completion bash)
  proxyctl completion zsh > "${fpath[1]}/_proxyctl"
  proxyctl completion fish > ~/.config/fish/completions/proxyctl.fish`,
		Args:      takes(1, 1),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			var err error
			switch args[0] {
			case "bash":
				err = root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				err = root.GenZshCompletion(a.stdout)
			case "fish":
				err = root.GenFishCompletion(a.stdout, true)
			case "powershell":
				err = root.GenPowerShellCompletionWithDesc(a.stdout)
			default:
				return fmt.Errorf("%q: expected one of %s", args[0], strings.Join(shells, ", "))
			}
			if err != nil {
				return &ranError{err}
			}
			return nil
		},
	}
}

// completer says which words may come next.
type completer = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective)

// first completes the first word only.
func first(f completer) completer {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, args, prefix)
	}
}

// completeFlag completes a flag's value. It fails only for a flag that the
// command does not have, which no input can cause.
func (a *app) completeFlag(cmd *cobra.Command, flag string, f completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

// oneOf completes words that are always the same.
func oneOf(words ...string) completer {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKind completes names of a kind.
func (a *app) completeKind(kind string) completer {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		k, err := parseKind(kind)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return a.completeNames(cmd, k, "", nil)
	}
}

func (a *app) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	contexts, _, err := a.readContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, c := range contexts.Contexts {
		names = append(names, c.Name+"\t"+c.Server)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeFormats(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	list := cmd.Annotations[formatsAnnotation]
	if list == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return strings.Split(list, ","), cobra.ShellCompDirectiveNoFileComp
}

// ask asks the control plane for words, for as long as a Tab may take.
func (a *app) ask(cmd *cobra.Command, words func(ctx context.Context, c *client.Client) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	a.timeout = completionTimeout
	ctx := cmd.Context()
	if ctx == nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var found []string
	err := a.withClient(func(c *client.Client) (err error) {
		found, err = words(ctx, c)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeGet completes kinds, all, and names.
func (a *app) completeGet(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	words, directive := a.completeNamed(cmd, args, prefix)
	if len(args) == 0 && !strings.Contains(prefix, "/") {
		words = append(words, allKinds)
	}
	return words, directive
}

// completeNamed completes "KIND NAME…" and "KIND/NAME…".
func (a *app) completeNamed(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.Contains(args[0], "/") {
		kind, err := parseKind(args[0])
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return a.completeNames(cmd, kind, "", args[1:])
	}
	word, _, slash := strings.Cut(prefix, "/")
	if !slash {
		var kinds []string
		for _, k := range resource.Kinds() {
			kinds = append(kinds, strings.ToLower(k.Kind))
		}
		return kinds, cobra.ShellCompDirectiveNoFileComp
	}
	kind, err := parseKind(word)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return a.completeNames(cmd, kind, word+"/", args)
}

// completeNames offers the names of a kind that were not typed yet.
func (a *app) completeNames(cmd *cobra.Command, kind resource.KindInfo, before string, typed []string) ([]string, cobra.ShellCompDirective) {
	return a.ask(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		items, err := fetchList(ctx, c, kind)
		var names []string
		for _, it := range items {
			if name := before + it.name; !slices.Contains(typed, name) {
				names = append(names, name)
			}
		}
		return names, err
	})
}

func (a *app) completeNodes(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeNames(cmd, nodeKind(), "", args)
}

func (a *app) completeRevisions(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.ask(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		entries, err := readHistory(ctx, c, 0, completionRevisions)
		var words []string
		for _, e := range entries {
			words = append(words, fmt.Sprintf("%s\t%s %s", strconv.FormatUint(e.Revision, 10), e.Author, e.Message))
		}
		return words, err
	})
}

// completeWeights completes "route/NAME UPSTREAM=" and "upstream/NAME ENDPOINT=".
func (a *app) completeWeights(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		if strings.Contains(prefix, "/") {
			return a.completeNamed(cmd, args, prefix)
		}
		return []string{"route/", "upstream/"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	o, err := parseOne(args[:1])
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	words, directive := a.ask(cmd, func(ctx context.Context, c *client.Client) ([]string, error) {
		it, err := fetchOne(ctx, c, o)
		if err != nil || it.decoded == nil {
			return nil, errors.Join(err, errors.New("not known"))
		}
		var words []string
		for _, f := range it.decoded.GetRoute().GetForward() {
			words = append(words, f.GetUpstream()+"=")
		}
		for _, e := range it.decoded.GetUpstream().GetEndpoints() {
			words = append(words, e.GetAddress()+"=")
		}
		return words, nil
	})
	return words, directive | cobra.ShellCompDirectiveNoSpace
}
