package main

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestTheReferenceNamesEveryFlag(t *testing.T) {
	settingstest.Documented(t, "../../../docs/REFERENCE.md", "proxy-dataplane", newCommand(world{}).Flags(), "node-id", "state-dir")
	settingstest.Known(t, newUpgradeCommand(world{}).Flags())
}
