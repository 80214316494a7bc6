package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/proxyfleet/proxyfleet/cli/client"
	"github.com/proxyfleet/proxyfleet/proto/api"
)

func (a *app) versionCommand() *cobra.Command {
	var own bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of proxyctl and of the control plane",
		Long: `Show the versions of proxyctl and of the control plane. Without a control plane
the exit status is 4; --client does not ask it, and neither does proxyctl --version.`,
		Example: "  proxyctl version\n  proxyctl version --client -o json",
		Args:    takes(0, 0),
		RunE: runner(func(ctx context.Context, _ []string) error {
			result := struct {
				Client api.Build  `json:"client"`
				Server *api.Build `json:"server,omitempty"`
			}{Client: api.NewBuild(version, commit)}
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
			err := a.show(result, func() {
				a.printf("%s\n", result.Client.Line("proxyctl"))
				if result.Server != nil {
					a.printf("%s\n", visible(result.Server.Line("control plane")))
				}
			})
			if err != nil {
				return err
			}
			return failed
		}),
	}
	cmd.Flags().BoolVar(&own, "client", false, "show the version of proxyctl only")
	offer(cmd)
	return cmd
}
