package main

import (
	"testing"

	"github.com/spf13/pflag"

	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestTheReferenceNamesEveryFlag(t *testing.T) {
	settingstest.Documented(t, "../../../docs/REFERENCE.md", "proxy-dataplane", newCommand(world{}).Flags(), "node-id", "state-dir")
	settingstest.Known(t, newUpgradeCommand(world{}).Flags())
	settingstest.Known(t, newExportCommand(world{}).Flags())
}

func TestConfigurationFilesOfPagesAreTaken(t *testing.T) {
	settingstest.Files(t, "../../../docs/OPERATING.md", "/etc/proxyfleet/node.yaml", func() *pflag.FlagSet { return newCommand(world{}).Flags() })
}
