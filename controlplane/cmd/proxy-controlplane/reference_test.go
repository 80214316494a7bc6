package main

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestTheReferenceNamesEveryFlag(t *testing.T) {
	settingstest.Documented(t, "../../../docs/REFERENCE.md", "proxy-controlplane", newCommand(world{}).Flags(), "data-dir")
}

func TestConfigurationFilesOfPagesAreTaken(t *testing.T) {
	settingstest.Files(t, "../../../docs/OPERATING.md", "/etc/proxyfleet/controlplane.yaml", func() *pflag.FlagSet { return newCommand(world{}).Flags() })
}
