package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) createCommand() *cobra.Command {
	var files []string
	var flags writeFlags
	cmd := &cobra.Command{
		Use:   "create -f FILE…",
		Short: "Create resources that must not exist yet",
		Long: `Create resources that must not exist yet, from files or, for the common cases,
from flags. If one exists nothing is created. --dry-run -o yaml prints what
would be sent: the beginning of a file.`,
		Example: `  proxyctl create -f shop.yaml
  proxyctl create listener web --port 8080
  proxyctl create upstream api --endpoint 10.0.0.1:80 --endpoint 10.0.0.2:80=3
  proxyctl create route api --host shop.test --prefix /api --forward api
  proxyctl create certificate site --chain site.crt --key site.key
  proxyctl create listener site --port 8443 --certificate site`,
		Args: noSuchCommand,
		RunE: runner(func(ctx context.Context, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			docs, err := a.readDocuments(ctx, files)
			if err != nil {
				return err
			}
			return a.create(ctx, docs, flags)
		}),
	}
	addFiles(cmd, &files)
	flags.add(cmd)
	offer(cmd)
	cmd.AddCommand(a.createListenerCommand(), a.createUpstreamCommand(), a.createRouteCommand(), a.createCertificateCommand())
	return cmd
}

// create applies the documents if none of their resources exists. It looks and
// then writes against the revision it looked at.
func (a *app) create(ctx context.Context, docs documents, flags writeFlags) error {
	return a.withClient(func(c *client.Client) error {
		for race := 1; ; race++ {
			look := flags.Write
			look.DryRun = true
			result, err := c.Apply(ctx, docs.body, look)
			if err != nil {
				return docs.explain(err)
			}
			var exist manyErrors
			for _, x := range result.Changed {
				if x.Action != api.Created {
					exist = append(exist, fmt.Errorf("%s: exists already", resourceName(x.Kind, x.Name)))
				}
			}
			if len(exist) > 0 {
				return exist.orNil()
			}
			if !flags.DryRun {
				write := flags.Write
				write.IfMatch = api.RevisionTag(result.Epoch, result.Revision)
				result, err = c.Apply(ctx, docs.body, write)
			}
			if isRefused(err, api.TypeStale) && race < maxRaces {
				continue
			}
			if err != nil {
				return docs.explain(err)
			}
			if a.output == formatYAML {
				a.printf("%s", docs.source)
				return nil
			}
			return a.changed(ctx, c, result, flags)
		}
	})
}

// quick is a create command that makes one resource from flags.
func (a *app) quick(use, short, example string, fill func(cmd *cobra.Command) func(r *fleetv1.Resource) error, kind string) *cobra.Command {
	var flags writeFlags
	var labels map[string]string
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: takes(1, 1)}
	build := fill(cmd)
	cmd.RunE = runner(func(ctx context.Context, args []string) error {
		if err := flags.check(); err != nil {
			return err
		}
		r := &fleetv1.Resource{Kind: proto.String(kind), Name: proto.String(args[0]), Labels: labels}
		if err := build(r); err != nil {
			return err
		}
		text, err := resource.AppendYAML(nil, r)
		if err != nil {
			return err
		}
		var docs documents
		if err := docs.add("", text); err != nil {
			return err
		}
		if err := docs.refused(); err != nil {
			return err
		}
		return a.create(ctx, docs, flags)
	})
	cmd.Flags().StringToStringVar(&labels, "label", nil, "label, k=v; may be repeated")
	flags.add(cmd)
	offer(cmd)
	return cmd
}

func (a *app) createListenerCommand() *cobra.Command {
	return a.quick("listener NAME", "Create a listener",
		"  proxyctl create listener web --port 8080\n  proxyctl create listener internal --port 8081 --address 10.0.0.5\n"+
			"  proxyctl create listener site --port 8443 --certificate site",
		func(cmd *cobra.Command) func(*fleetv1.Resource) error {
			var port uint32
			var protocol string
			var addresses, certificates []string
			cmd.Flags().Uint32Var(&port, "port", 0, "port to listen on")
			cmd.Flags().StringVar(&protocol, "protocol", "", "HTTP, HTTPS, TCP or TLS_PASSTHROUGH (default HTTP, with --certificate HTTPS)")
			a.completeFlag(cmd, "protocol", oneOf("HTTP", "HTTPS", "TCP", "TLS_PASSTHROUGH"))
			cmd.Flags().StringSliceVar(&certificates, "certificate", nil, "certificate of HTTPS; the first is for clients that ask for no name that one has; may be repeated")
			a.completeFlag(cmd, "certificate", a.completeKind(resource.Certificate))
			cmd.Flags().StringSliceVar(&addresses, "address", nil, "NODE, vip/NAME or an IP address; may be repeated (default NODE and every VirtualIP)")
			_ = cmd.MarkFlagRequired("port")
			return func(r *fleetv1.Resource) error {
				listener := &fleetv1.Listener{Port: proto.Uint32(port), Protocol: fleetv1.Listener_HTTP.Enum(), Addresses: addresses}
				if len(certificates) > 0 {
					listener.Protocol, listener.Tls = fleetv1.Listener_HTTPS.Enum(), &fleetv1.ListenerTLS{Certificates: certificates}
				}
				if protocol != "" {
					p, ok := fleetv1.Listener_Protocol_value[strings.ToUpper(protocol)]
					if !ok || p == 0 {
						return wrongUse("--protocol %s: expected HTTP, HTTPS, TCP or TLS_PASSTHROUGH", protocol)
					}
					listener.Protocol = fleetv1.Listener_Protocol(p).Enum()
				}
				switch https := listener.GetProtocol() == fleetv1.Listener_HTTPS; {
				case https && listener.GetTls() == nil:
					return wrongUse("--protocol HTTPS needs --certificate (proxyctl create certificate makes one)")
				case !https && listener.GetTls() != nil:
					return wrongUse("--certificate is for HTTPS: leave out --protocol %s", protocol)
				}
				r.Spec = &fleetv1.Resource_Listener{Listener: listener}
				return nil
			}
		}, resource.Listener)
}

func (a *app) createUpstreamCommand() *cobra.Command {
	return a.quick("upstream NAME", "Create an upstream",
		"  proxyctl create upstream api --endpoint 10.0.0.1:80 --endpoint 10.0.0.2:80=3 --balancing LEAST_REQUEST",
		func(cmd *cobra.Command) func(*fleetv1.Resource) error {
			var endpoints []string
			var balancing string
			cmd.Flags().StringSliceVar(&endpoints, "endpoint", nil, "IP:PORT or unix:/PATH, with =WEIGHT behind it (default 1; 0: no new requests); may be repeated")
			cmd.Flags().StringVar(&balancing, "balancing", "", "ROUND_ROBIN or LEAST_REQUEST (default ROUND_ROBIN)")
			a.completeFlag(cmd, "balancing", oneOf("ROUND_ROBIN", "LEAST_REQUEST"))
			_ = cmd.MarkFlagRequired("endpoint")
			return func(r *fleetv1.Resource) error {
				u := &fleetv1.Upstream{}
				for _, e := range endpoints {
					address, weight, err := parseWeighted(e)
					if err != nil {
						return err
					}
					u.Endpoints = append(u.Endpoints, &fleetv1.Endpoint{Address: proto.String(address), Weight: weight})
				}
				if balancing != "" {
					v, ok := fleetv1.LoadBalancing_Algorithm_value[strings.ToUpper(balancing)]
					if !ok || v == 0 {
						return wrongUse("--balancing %s: expected ROUND_ROBIN or LEAST_REQUEST", balancing)
					}
					u.LoadBalancing = &fleetv1.LoadBalancing{Algorithm: fleetv1.LoadBalancing_Algorithm(v).Enum()}
				}
				r.Spec = &fleetv1.Resource_Upstream{Upstream: u}
				return nil
			}
		}, resource.Upstream)
}

// parseWeighted reads NAME or NAME=WEIGHT.
func parseWeighted(s string) (name string, weight *uint32, err error) {
	if !strings.Contains(s, "=") {
		return s, nil, nil
	}
	w, err := parseWeights([]string{s})
	if err != nil {
		return "", nil, err
	}
	return w[0].name, proto.Uint32(w[0].weight), nil
}
