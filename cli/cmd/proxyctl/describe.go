package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) describeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe KIND NAME… | KIND/NAME…",
		Short: "Show all that is known of resources: text, defaults, what refers to them",
		Example: `  proxyctl describe route api
  proxyctl describe upstream/api-v1
  proxyctl describe node node-2`,
		Args:              takes(1, many),
		ValidArgsFunction: a.completeNamed,
		RunE: runner(func(ctx context.Context, args []string) error {
			objects, err := parseNamed(args)
			if err != nil {
				return err
			}
			return a.withClient(func(c *client.Client) error { return a.describe(ctx, c, objects) })
		}),
	}
	offer(cmd)
	return cmd
}

// description is what is known of one resource.
type description struct {
	Kind         string            `json:"kind"`
	Name         string            `json:"name"`
	Labels       map[string]string `json:"labels,omitempty"`
	Digest       string            `json:"digest,omitempty"`
	RefersTo     []reference       `json:"refersTo,omitempty"`
	ReferredBy   []reference       `json:"referredBy,omitempty"`
	Resource     json.RawMessage   `json:"resource,omitempty"`
	WithDefaults json.RawMessage   `json:"withDefaults,omitempty"`
	Node         *api.NodeStatus   `json:"node,omitempty"`

	text, defaults []byte // YAML
}

// reference is one resource that refers to another, or is referred to.
type reference struct {
	Resource string `json:"resource"`
	Field    string `json:"field"` // of the one that refers
}

// describe shows each of the objects; what is missing is said after the rest.
func (a *app) describe(ctx context.Context, c *client.Client, objects []object) error {
	var failures manyErrors
	all := []description{}
	for _, o := range objects {
		d, err := describeOne(ctx, c, o)
		if isRefused(err, api.TypeNotFound) {
			failures = append(failures, objectError(o, err))
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, d)
	}
	var shown any = map[string]any{"items": all}
	if len(objects) == 1 && len(all) == 1 {
		shown = all[0]
	}
	err := a.show(shown, func() {
		for i, d := range all {
			if i > 0 {
				a.printf("\n")
			}
			a.printDescription(d)
		}
	})
	if err != nil {
		return err
	}
	return failures.orNil()
}

func describeOne(ctx context.Context, c *client.Client, o object) (description, error) {
	if o.kind.Kind == resource.Node {
		n, err := c.Node(ctx, o.name)
		return description{Kind: o.kind.Kind, Name: o.name, Labels: n.Labels, Node: &n}, err
	}
	raw, tag, err := c.Get(ctx, o.kind.Plural, o.name)
	if err != nil {
		return description{}, err
	}
	it, err := newItem(raw)
	if err != nil {
		return description{}, err
	}
	d := description{Kind: it.kind, Name: it.name, Labels: it.labels, Digest: strings.Trim(tag, `"`), Resource: raw}
	if d.text, err = it.yaml(); err != nil {
		return d, err
	}
	if it.decoded != nil {
		whole := resource.WithDefaults(it.decoded)
		if d.defaults, err = resource.AppendYAML(nil, whole); err != nil {
			return d, err
		}
		if d.WithDefaults, err = resource.AppendJSON(nil, whole); err != nil {
			return d, err
		}
		for field, key := range resource.References(it.decoded) {
			d.RefersTo = append(d.RefersTo, reference{key.String(), field})
		}
	}
	d.ReferredBy, err = referredBy(ctx, c, o)
	return d, err
}

// referredBy finds the resources that refer to the object.
func referredBy(ctx context.Context, c *client.Client, o object) ([]reference, error) {
	if slices.Contains([]string{resource.Route, resource.Policy, resource.RolloutPolicy}, o.kind.Kind) {
		return nil, nil // no field of any kind names these
	}
	var found []reference
	for _, kind := range resource.Kinds() {
		if !kind.Configuration {
			continue
		}
		items, err := fetchList(ctx, c, kind)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			if it.decoded == nil {
				continue
			}
			for field, key := range resource.References(it.decoded) {
				if key.Kind == o.kind.Kind && key.Name == o.name {
					found = append(found, reference{resourceName(it.kind, it.name), field})
				}
			}
		}
	}
	return found, nil
}

func (a *app) printDescription(d description) {
	on := a.colours(a.stdout)
	head := func(name, value string) {
		if value != "" {
			a.printf("%s%s\n", paint(on, bold, fmt.Sprintf("%-14s", name)), visible(value))
		}
	}
	head("kind", d.Kind)
	head("name", d.Name)
	head("labels", labelText(d.Labels))
	head("digest", d.Digest)
	if d.Node != nil {
		a.printNode(*d.Node, head)
		return
	}
	list := func(name string, refs []reference) {
		for _, r := range refs {
			head(name, r.Resource+"  ("+r.Field+")")
			name = ""
		}
	}
	list("refers to", d.RefersTo)
	list("referred by", d.ReferredBy)
	a.printf("\n%s\n%s", paint(on, bold, "as written"), indented(d.text))
	if len(d.defaults) > 0 && !bytes.Equal(d.defaults, d.text) {
		a.printf("\n%s\n%s", paint(on, bold, "with defaults"), indented(d.defaults))
	}
}

func (a *app) printNode(n api.NodeStatus, head func(name, value string)) {
	version := func(v *api.Version) string {
		if v == nil {
			return "nothing"
		}
		return fmt.Sprintf("revision %d, epoch %d, digest %s", v.Revision, v.Epoch, v.Digest)
	}
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.In(a.zone).Format(time.DateTime) + " (" + ago(t, a.now()) + ")"
	}
	head("state", string(n.State))
	head("reason", reason(n, a.now()))
	head("connected", fmt.Sprint(n.Connected))
	head("control plane", n.ControlPlane)
	head("expected", fmt.Sprint(n.Expected))
	head("cordoned", fmt.Sprint(n.Cordoned))
	head("drained", fmt.Sprint(n.Drained))
	head("wanted", version(&n.Wanted))
	head("running", version(n.Running))
	head("attested", n.Attested)
	head("build", n.Build)
	if n.SchemaLevel > 0 {
		head("schema level", fmt.Sprint(n.SchemaLevel))
	}
	head("first seen", at(n.FirstSeen))
	head("last seen", at(n.LastSeen))
	if n.Connected {
		head("uptime", (time.Duration(n.UptimeSeconds) * time.Second).String())
		head("requests", fmt.Sprint(n.Requests))
		head("errors", fmt.Sprint(n.Errors))
		head("connections", fmt.Sprint(n.Connections))
		head("counted", at(n.CountedAt))
	}
	var b strings.Builder
	writeReasons(&b, []api.NodeStatus{n}, a.colours(a.stdout))
	a.printf("%s", b.String())
}

// indented is a text with each line moved to the right.
func indented(text []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString("  " + line)
	}
	return b.String()
}
