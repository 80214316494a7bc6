package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// allKinds is the word for all kinds of the configuration.
const allKinds = "all"

func (a *app) getCommand() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use:   "get KIND [NAME…] | KIND/NAME… | all",
		Short: "List resources, or print them to be edited and applied again",
		Long: `List resources. A kind is written in singular, plural or short (r, u, l, …), in
any case. "get all" is the whole configuration, without nodes; with -o yaml it
can be applied again.`,
		Example: `  proxyctl get routes
  proxyctl get route api front -o yaml
  proxyctl get route/api upstream/api-v1
  proxyctl get routes -l 'team=orders,!draft' -o wide
  proxyctl get routes -l draft -o name | xargs proxyctl delete
  proxyctl get all -o yaml > backup.yaml`,
		Args:              takes(1, many),
		ValidArgsFunction: a.completeGet,
		RunE: runner(func(ctx context.Context, args []string) error {
			wanted, err := parseSelector(selector)
			if err != nil {
				return err
			}
			var objects []object
			if strings.EqualFold(args[0], allKinds) {
				if len(args) > 1 {
					return wrongUse("get all: expected no names")
				}
				for _, k := range resource.Kinds() {
					if k.Configuration {
						objects = append(objects, object{kind: k})
					}
				}
			} else if objects, err = parseObjects(args); err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error {
				items, missing, err := a.fetch(ctx, c, objects)
				if err != nil {
					return err
				}
				items = slices.DeleteFunc(items, func(it item) bool { return !wanted.matches(it.labels) })
				if len(items) > 0 || missing == nil {
					if err := a.printItems(items, isList(objects)); err != nil {
						return err
					}
				}
				return missing
			})
		}),
	}
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "labels to have: k=v, k!=v, k, !k, by comma")
	offer(cmd, formatWide, formatName)
	return cmd
}

// isList tells "all of a kind" from one named resource, for JSON.
func isList(objects []object) bool { return len(objects) != 1 || objects[0].name == "" }

// item is one resource as the control plane gave it.
type item struct {
	kind   string
	name   string
	labels map[string]string
	raw    json.RawMessage
	// decoded is nil if the resource holds what this build does not know.
	decoded *fleetv1.Resource
	node    *api.NodeStatus
}

// newItem reads a resource's head without its schema, so that a newer control
// plane's resources can be listed too.
func newItem(raw json.RawMessage) (item, error) {
	var head struct {
		Kind   string            `json:"kind"`
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return item{}, fmt.Errorf("answer of the control plane: resource: %w", err)
	}
	it := item{kind: head.Kind, name: head.Name, labels: head.Labels, raw: raw}
	docs, problems := resource.Decode(raw, resource.DecodeOptions{})
	if len(docs) == 1 && len(problems) == 0 {
		it.decoded = docs[0].Resource
	}
	return it, nil
}

func newNodeItem(n api.NodeStatus) (item, error) {
	it := item{kind: resource.Node, name: n.ID, labels: n.Labels, node: &n}
	if len(n.Resource) > 0 {
		x, err := newItem(n.Resource)
		if err != nil {
			return item{}, err
		}
		it.raw, it.decoded = x.raw, x.decoded
	}
	return it, nil
}

// yaml is the resource's text form.
func (it item) yaml() ([]byte, error) {
	if it.decoded != nil {
		return resource.AppendYAML(nil, it.decoded)
	}
	if len(it.raw) == 0 {
		return nil, fmt.Errorf("%s: the control plane did not say what its resource is", resourceName(it.kind, it.name))
	}
	return yaml.JSONToYAML(it.raw)
}

// fetch gets what the objects name, and says of all that is missing that it is.
func (a *app) fetch(ctx context.Context, c *client.Client, objects []object) (items []item, missing, err error) {
	var absent manyErrors
	for _, o := range objects {
		if o.name == "" {
			list, err := a.fetchAll(ctx, c, o.kind)
			if err != nil {
				return nil, nil, err
			}
			items = append(items, list...)
			continue
		}
		it, err := fetchOne(ctx, c, o)
		var refused *api.Error
		if errors.As(err, &refused) && refused.Type == api.TypeNotFound {
			absent = append(absent, fmt.Errorf("%s: there is no such resource", o))
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		items = append(items, it)
	}
	return items, absent.orNil(), nil
}

// fetchAll is fetchList, and says of what age the answer is if that is not now.
func (a *app) fetchAll(ctx context.Context, c *client.Client, kind resource.KindInfo) ([]item, error) {
	if kind.Kind != resource.Node {
		return fetchList(ctx, c, kind)
	}
	list, err := c.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	if at := list.ConfiguredAsOf; at != nil {
		a.note("etcd does not answer the control plane: what is wanted of nodes is as it was %s; what they run they say themselves", ago(at, a.now()))
	}
	return nodeItems(list)
}

func nodeItems(list api.NodeList) ([]item, error) {
	var items []item
	for _, n := range list.Items {
		it, err := newNodeItem(n)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

func fetchList(ctx context.Context, c *client.Client, kind resource.KindInfo) ([]item, error) {
	var items []item
	if kind.Kind == resource.Node {
		list, err := c.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		return nodeItems(list)
	}
	list, err := c.List(ctx, kind.Plural)
	if err != nil {
		return nil, err
	}
	for _, raw := range list.Items {
		it, err := newItem(raw)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	return items, nil
}

func fetchOne(ctx context.Context, c *client.Client, o object) (item, error) {
	if o.kind.Kind == resource.Node {
		n, err := c.Node(ctx, o.name)
		if err != nil {
			return item{}, err
		}
		return newNodeItem(n)
	}
	raw, _, err := c.Get(ctx, o.kind.Plural, o.name)
	if err != nil {
		return item{}, err
	}
	return newItem(raw)
}

// printItems prints resources in the form that was asked for.
func (a *app) printItems(items []item, list bool) error {
	switch a.output {
	case formatJSON:
		return a.printItemsJSON(items, list)
	case formatYAML:
		for i, it := range items {
			text, err := it.yaml()
			if err != nil {
				return err
			}
			if i > 0 {
				a.printf("---\n")
			}
			a.printf("%s", text)
		}
		return nil
	case formatName:
		for _, it := range items {
			a.printf("%s/%s\n", strings.ToLower(it.kind), visible(it.name))
		}
		return nil
	}
	if len(items) == 0 {
		a.note("nothing found")
		return nil
	}
	// One table for each kind, in the order of the kinds.
	printed := false
	for _, k := range resource.Kinds() {
		var same []item
		for _, it := range items {
			if it.kind == k.Kind {
				same = append(same, it)
			}
		}
		if len(same) == 0 {
			continue
		}
		if printed {
			a.printf("\n")
		}
		printed = true
		if len(same) < len(items) {
			a.printf("%s\n", paint(a.colours(a.stdout), bold, strings.ToUpper(k.Plural)))
		}
		header, rows := tableOf(k.Kind, same, a.output == formatWide, a.now())
		a.printTable(header, rows)
	}
	return nil
}

func (a *app) printItemsJSON(items []item, list bool) error {
	if !list && len(items) == 1 {
		if items[0].node != nil {
			return a.printJSON(items[0].node)
		}
		return a.printJSON(items[0].raw)
	}
	all := make([]any, 0, len(items))
	for _, it := range items {
		if it.node != nil {
			all = append(all, it.node)
			continue
		}
		all = append(all, it.raw)
	}
	return a.printJSON(struct {
		Items []any `json:"items"`
	}{all})
}

// selector is a set of demands on labels, all of which must hold.
type selector []demand

type demand struct {
	key, value string
	not        bool
	any        bool // any value
}

// parseSelector reads "team=orders,tier!=gold,canary,!draft".
func parseSelector(s string) (selector, error) {
	var sel selector
	if s == "" {
		return nil, nil
	}
	for _, word := range strings.Split(s, ",") {
		word = strings.TrimSpace(word)
		d := demand{}
		if key, value, ok := strings.Cut(word, "!="); ok {
			d = demand{key: key, value: value, not: true}
		} else if key, value, ok := strings.Cut(word, "="); ok {
			d = demand{key: key, value: strings.TrimPrefix(value, "=")}
		} else {
			key, not := strings.CutPrefix(word, "!")
			d = demand{key: key, not: not, any: true}
		}
		if d.key == "" {
			return nil, wrongUse("-l %q: expected k=v, k!=v, k or !k, by comma", s)
		}
		sel = append(sel, d)
	}
	return sel, nil
}

func (s selector) matches(labels map[string]string) bool {
	for _, d := range s {
		value, has := labels[d.key]
		holds := has && (d.any || value == d.value)
		if holds == d.not {
			return false
		}
	}
	return true
}
