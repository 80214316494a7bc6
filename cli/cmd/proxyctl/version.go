package main

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
	"github.com/proxyfleet/proxyfleet/proto/resource"
)

func (a *app) versionCommand() *cobra.Command {
	var own bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of proxyctl and of the control plane",
		Long: `Show the versions of proxyctl and of the control plane. Without a control plane
the exit status is 4; --client does not ask it.`,
		Example: "  proxyctl version\n  proxyctl version --client -o json",
		Args:    cobra.NoArgs,
		RunE: runner(func(ctx context.Context, _ []string) error {
			result := struct {
				Client api.Build  `json:"client"`
				Server *api.Build `json:"server,omitempty"`
			}{Client: api.Build{Version: version, Go: runtime.Version(), SchemaLevel: resource.SchemaLevel}}
			var failed error
			if !own {
				failed = a.withClient(func(c *client.Client) error {
					b, err := c.Version(ctx)
					if err == nil {
						result.Server = &b
					}
					return err
				})
			}
			if a.output == formatJSON {
				if err := a.printJSON(result); err != nil {
					return err
				}
				return failed
			}
			show := func(who string, b api.Build) {
				a.printf("%-14s %s (%s, schema level %d)\n", who, b.Version, b.Go, b.SchemaLevel)
			}
			show("proxyctl", result.Client)
			if result.Server != nil {
				show("control plane", *result.Server)
			}
			return failed
		}),
	}
	cmd.Flags().BoolVar(&own, "client", false, "show the version of proxyctl only")
	offer(cmd, formatTable, formatJSON)
	return cmd
}
