package main

import (
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"

	"github.com/proxyfleet/proxyfleet/proto/resource"
)

// createCertificateCommand takes --cert for --chain too, as kubectl's "create
// secret tls" does. The files are read when the resource is sent: with --dry-run
// -o yaml their names are printed, and no key.
func (a *app) createCertificateCommand() *cobra.Command {
	return a.quick("certificate NAME", "Create a certificate from PEM files",
		"  proxyctl create certificate site --chain site.crt --key site.key\n  proxyctl create certificate site --chain site.crt --key site.key --dry-run",
		func(cmd *cobra.Command) func(*fleetv1.Resource) error {
			var chain, cert, key string
			cmd.Flags().StringVar(&chain, "chain", "", "PEM `FILE` with the certificate, and its issuers after it")
			cmd.Flags().StringVar(&cert, "cert", "", "the same as --chain")
			cmd.Flags().StringVar(&key, "key", "", "PEM `FILE` with the private key")
			cmd.MarkFlagsOneRequired("chain", "cert")
			cmd.MarkFlagsMutuallyExclusive("chain", "cert")
			_ = cmd.MarkFlagRequired("key")
			for _, flag := range []string{"chain", "cert", "key"} {
				_ = cmd.MarkFlagFilename(flag)
			}
			return func(r *fleetv1.Resource) error {
				if chain == "" {
					chain = cert
				}
				r.Spec = &fleetv1.Resource_Certificate{Certificate: &fleetv1.Certificate{
					ChainFile: proto.String(chain), KeyFile: proto.String(key),
				}}
				return nil
			}
		}, resource.Certificate)
}
