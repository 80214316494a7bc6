package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// maxRaces bounds how often a change is computed again because another won.
const maxRaces = 5

func (a *app) setCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set",
		Short: "Change one thing of a resource",
		Args:  noSuchCommand,
		RunE:  showHelp,
	}
	cmd.AddCommand(a.setWeightCommand())
	return cmd
}

func (a *app) setWeightCommand() *cobra.Command {
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "weight route/NAME UPSTREAM=N… | upstream/NAME ENDPOINT=N…",
		Short: "Change the weights of a route's upstreams or of an upstream's endpoints",
		Long: `Change the weights of a route's upstreams or of an upstream's endpoints. Those
that are not named keep theirs. Weight 0 gets no new requests.`,
		Example: `  proxyctl set weight route/api api-v1=90 api-v2=10 --wait
  proxyctl set weight upstream/front 127.0.0.1:9001=0 -m "9001 goes for repair"`,
		Args:              takes(2, many),
		ValidArgsFunction: a.completeWeights,
		RunE: runner(func(ctx context.Context, args []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			o, err := parseOne(args[:1])
			if err != nil {
				return err
			}
			if o.kind.Kind != resource.Route && o.kind.Kind != resource.Upstream {
				return wrongUse("%s: expected a route or an upstream", o)
			}
			weights, err := parseWeights(args[1:])
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				result, err := changeResource(ctx, c, o, flags.Write, func(r *fleetv1.Resource) error {
					return setWeights(r, weights)
				})
				if err != nil {
					return err
				}
				return a.changed(ctx, c, result, flags)
			})
		}),
	}
	flags.add(cmd)
	offer(cmd)
	return cmd
}

// nameWeight is one "name=weight".
type nameWeight struct {
	name   string
	weight uint32
}

func parseWeights(args []string) ([]nameWeight, error) {
	var weights []nameWeight
	seen := map[string]bool{}
	for _, arg := range args {
		i := strings.LastIndexByte(arg, '=')
		if i <= 0 {
			return nil, wrongUse("%q: expected NAME=WEIGHT", arg)
		}
		n, err := strconv.ParseUint(arg[i+1:], 10, 32)
		if err != nil {
			return nil, wrongUse("%q: weight %q: expected a number, 0 or more", arg, arg[i+1:])
		}
		if seen[arg[:i]] {
			return nil, wrongUse("%q: named twice", arg[:i])
		}
		seen[arg[:i]] = true
		weights = append(weights, nameWeight{arg[:i], uint32(n)})
	}
	return weights, nil
}

// setWeights changes the weights of a route or upstream.
func setWeights(r *fleetv1.Resource, weights []nameWeight) error {
	targets := map[string]**uint32{}
	var names []string
	what := "forwards to"
	for _, f := range r.GetRoute().GetForward() {
		targets[f.GetUpstream()] = &f.Weight
		names = append(names, f.GetUpstream())
	}
	for _, e := range r.GetUpstream().GetEndpoints() {
		what = "has"
		targets[e.GetAddress()] = &e.Weight
		names = append(names, e.GetAddress())
	}
	for _, w := range weights {
		target, ok := targets[w.name]
		if !ok && len(names) == 0 {
			return fmt.Errorf("%s: it forwards to no upstream", resource.KeyOf(r))
		}
		if !ok {
			return fmt.Errorf("%s: %q is not there; it %s %s", resource.KeyOf(r), w.name, what, strings.Join(names, ", "))
		}
		*target = proto.Uint32(w.weight)
	}
	return nil
}

// changeResource reads a resource, changes it and puts it back, again if
// somebody else changed it meanwhile.
func changeResource(ctx context.Context, c *client.Client, o object, w client.Write, change func(*fleetv1.Resource) error) (api.ApplyResult, error) {
	for race := 1; ; race++ {
		text, tag, err := c.GetYAML(ctx, o.kind.Plural, o.name)
		if err != nil {
			return api.ApplyResult{}, objectError(o, err)
		}
		docs, problems := resource.Decode(text, resource.DecodeOptions{})
		if len(problems) > 0 || len(docs) != 1 {
			return api.ApplyResult{}, fmt.Errorf("%s: this proxyctl does not know all of it (schema level %d): use apply", o, resource.SchemaLevel)
		}
		r := docs[0].Resource
		if err := change(r); err != nil {
			return api.ApplyResult{}, err
		}
		changed, err := resource.AppendYAML(nil, r)
		if err != nil {
			return api.ApplyResult{}, err
		}
		w.IfMatch = tag
		result, err := c.Put(ctx, o.kind.Plural, o.name, changed, w)
		if isRefused(err, api.TypeStale) && race < maxRaces {
			continue
		}
		return result, err
	}
}
