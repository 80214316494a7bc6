package main

import (
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// routeFlags are a route in flags.
type routeFlags struct {
	hosts, listeners, methods, headers, forward []string
	exact, prefix, regex                        string
	redirect, body                              string
	status                                      uint32
	respond                                     uint32
	priority                                    int32
}

func (a *app) createRouteCommand() *cobra.Command {
	return a.quick("route NAME", "Create a route",
		`  proxyctl create route api --host shop.test --prefix /api --forward api-v1=95 --forward api-v2=5
  proxyctl create route old --host shop.test --exact /home --redirect / --status 301
  proxyctl create route ping --exact /ping --respond 200 --body pong`,
		func(cmd *cobra.Command) func(*fleetv1.Resource) error {
			var f routeFlags
			flags := cmd.Flags()
			flags.StringSliceVar(&f.hosts, "host", nil, "host name or *.NAME; may be repeated (default any)")
			flags.StringSliceVar(&f.listeners, "listener", nil, "name of a listener; may be repeated (default: all that carry HTTP)")
			flags.StringSliceVar(&f.methods, "method", nil, "method; may be repeated (default any)")
			flags.StringArrayVar(&f.headers, "header", nil, "header to match, NAME or NAME=VALUE; may be repeated")
			flags.StringVar(&f.exact, "exact", "", "match this whole path")
			flags.StringVar(&f.prefix, "prefix", "", "match this path and what is below it")
			flags.StringVar(&f.regex, "regex", "", "match whole paths by a pattern of RE2")
			flags.StringSliceVar(&f.forward, "forward", nil, "UPSTREAM or UPSTREAM=WEIGHT (default 1); may be repeated")
			flags.StringVar(&f.redirect, "redirect", "", "redirect to this path")
			flags.Uint32Var(&f.status, "status", 0, "status of the redirect (default 302)")
			flags.Uint32Var(&f.respond, "respond", 0, "answer with this status")
			flags.StringVar(&f.body, "body", "", "body of the answer")
			flags.Int32Var(&f.priority, "priority", 0, "higher is tried first, between routes of the same host")
			a.completeFlag(cmd, "listener", a.completeKind(resource.Listener))
			a.completeFlag(cmd, "forward", a.completeKind(resource.Upstream))
			cmd.MarkFlagsMutuallyExclusive("exact", "prefix", "regex")
			cmd.MarkFlagsMutuallyExclusive("forward", "redirect", "respond")
			cmd.MarkFlagsOneRequired("forward", "redirect", "respond")
			return func(r *fleetv1.Resource) error {
				route, err := f.route(cmd.Flags().Changed)
				if err != nil {
					return err
				}
				r.Spec = &fleetv1.Resource_Route{Route: route}
				return nil
			}
		}, resource.Route)
}

// route makes the route; given tells which flags were used.
func (f *routeFlags) route(given func(flag string) bool) (*fleetv1.Route, error) {
	if given("status") && !given("redirect") {
		return nil, wrongUse("--status: expected with --redirect only")
	}
	if given("body") && !given("respond") {
		return nil, wrongUse("--body: expected with --respond only")
	}
	r := &fleetv1.Route{Hosts: f.hosts, Listeners: f.listeners}
	if given("priority") {
		r.Priority = proto.Int32(f.priority)
	}
	m := &fleetv1.Match{Methods: f.methods}
	switch {
	case given("exact"):
		m.Path = &fleetv1.PathMatch{Exact: proto.String(f.exact)}
	case given("prefix"):
		m.Path = &fleetv1.PathMatch{Prefix: proto.String(f.prefix)}
	case given("regex"):
		m.Path = &fleetv1.PathMatch{Regex: proto.String(f.regex)}
	}
	for _, h := range f.headers {
		name, value, hasValue := strings.Cut(h, "=")
		match := &fleetv1.HeaderMatch{Name: proto.String(name)}
		if hasValue {
			match.Exact = proto.String(value)
		}
		m.Headers = append(m.Headers, match)
	}
	if m.Path != nil || len(m.Methods) > 0 || len(m.Headers) > 0 {
		r.Match = m
	}
	switch {
	case given("redirect"):
		r.Redirect = &fleetv1.Redirect{Path: proto.String(f.redirect)}
		if given("status") {
			r.Redirect.Status = proto.Uint32(f.status)
		}
	case given("respond"):
		r.Respond = &fleetv1.Respond{Status: proto.Uint32(f.respond)}
		if given("body") {
			r.Respond.Body = proto.String(f.body)
		}
	}
	for _, target := range f.forward {
		upstream, weight, err := parseWeighted(target)
		if err != nil {
			return nil, err
		}
		r.Forward = append(r.Forward, &fleetv1.Forward{Upstream: proto.String(upstream), Weight: weight})
	}
	return r, nil
}
