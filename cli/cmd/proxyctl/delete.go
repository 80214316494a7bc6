package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) deleteCommand() *cobra.Command {
	var files []string
	var flags writeFlags
	var ignoreMissing bool
	cmd := &cobra.Command{
		Use:   "delete KIND NAME… | KIND/NAME… | -f FILE…",
		Short: "Delete resources",
		Long: `Delete resources. What others refer to is refused, naming them. Of several, each
is a change of its own, in an order in which what refers goes before what it
refers to; when one is refused the ones before it stay deleted, and the rest is
tried.`,
		Example: `  proxyctl delete route old-home
  proxyctl delete route/api route/api-testers upstream/api-v2
  proxyctl delete -f shop.yaml --wait
  proxyctl delete route old-home --dry-run`,
		ValidArgsFunction: a.completeNamed,
		RunE: runner(func(ctx context.Context, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			if (len(files) > 0) == (len(args) > 0) {
				return wrongUse("expected KIND NAME…, KIND/NAME… or -f FILE")
			}
			objects, err := a.namedOrFiled(ctx, args, files)
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				return a.deleteAll(ctx, c, objects, flags, ignoreMissing)
			})
		}),
	}
	addFiles(cmd, &files)
	flags.add(cmd)
	cmd.Flags().BoolVar(&ignoreMissing, "ignore-not-found", false, "what is not there counts as deleted")
	offer(cmd)
	return cmd
}

// namedOrFiled is what the arguments or the files name.
func (a *app) namedOrFiled(ctx context.Context, args, files []string) ([]object, error) {
	if len(args) > 0 {
		return parseNamed(args)
	}
	docs, err := a.readInto(ctx, documents{asWritten: true}, files)
	if err != nil {
		return nil, err
	}
	return docs.objects()
}

// deletionRank orders kinds so that what refers comes before what it refers to.
func deletionRank(kind string) int {
	order := []string{resource.Policy, resource.Route, resource.RateLimit, resource.Upstream, resource.Listener}
	if i := slices.Index(order, kind); i >= 0 {
		return i
	}
	return len(order)
}

// deleteAll deletes in order; what is refused because something refers to it is
// tried again as long as anything else gets deleted.
func (a *app) deleteAll(ctx context.Context, c *client.Client, objects []object, flags writeFlags, ignoreMissing bool) error {
	slices.SortStableFunc(objects, func(x, y object) int {
		return deletionRank(x.kind.Kind) - deletionRank(y.kind.Kind)
	})
	result := api.ApplyResult{DryRun: flags.DryRun, Changed: []api.Changed{}}
	var failures manyErrors
	var broke error // nobody answers any more: the rest is not tried
	for pending := objects; len(pending) > 0 && broke == nil; {
		var again []object
		var refusals []error
		for _, o := range pending {
			r, err := deleteOne(ctx, c, o, flags.Write)
			switch {
			case err == nil:
				result.Version = r.Version
				result.Changed = append(result.Changed, api.Changed{Kind: o.kind.Kind, Name: o.name, Action: api.Deleted})
			case isRefused(err, api.TypeNotFound) && ignoreMissing:
			case flags.DryRun && onlyReferredToBy(err, result.Changed):
				result.Changed = append(result.Changed, api.Changed{Kind: o.kind.Kind, Name: o.name, Action: api.Deleted})
			case isRefused(err, api.TypeReferenced):
				again, refusals = append(again, o), append(refusals, objectError(o, err))
			case mayPass(err), errors.Is(err, context.Canceled):
				broke = objectError(o, err)
			default:
				failures = append(failures, objectError(o, err))
			}
			if broke != nil {
				break
			}
		}
		if broke == nil && (len(again) == len(pending) || flags.DryRun) {
			failures = append(failures, refusals...)
			break
		}
		pending = again
	}
	if broke != nil {
		failures = append(failures, broke)
	}
	// What was deleted is told, however it went on.
	if len(result.Changed) > 0 || len(failures) == 0 {
		wait := flags
		wait.wait = flags.wait && result.Revision > 0 && broke == nil
		if err := a.changed(ctx, c, result, wait); err != nil {
			failures = append(failures, err)
		}
	}
	return failures.orNil()
}

// onlyReferredToBy reports whether nothing but what would be deleted by then stands in the
// way.
func onlyReferredToBy(err error, deleted []api.Changed) bool {
	var refused *api.Error
	if !errors.As(err, &refused) || refused.Type != api.TypeReferenced || len(refused.Problems) == 0 {
		return false
	}
	for _, p := range refused.Problems {
		if !slices.ContainsFunc(deleted, func(x api.Changed) bool { return x.Kind == p.Kind && x.Name == p.Name }) {
			return false
		}
	}
	return true
}

func deleteOne(ctx context.Context, c *client.Client, o object, w client.Write) (api.ApplyResult, error) {
	if o.kind.Kind != resource.Node {
		return c.Delete(ctx, o.kind.Plural, o.name, w)
	}
	if w.DryRun {
		_, err := c.Node(ctx, o.name)
		return api.ApplyResult{}, err
	}
	return api.ApplyResult{}, c.DeleteNode(ctx, o.name)
}

func objectError(o object, err error) error {
	if isRefused(err, api.TypeNotFound) {
		return fmt.Errorf("%s: there is no such resource", o)
	}
	if strings.HasPrefix(err.Error(), o.String()) {
		return err // it names the resource itself
	}
	return fmt.Errorf("%s: %w", o, err)
}
