package main

import (
	"testing"

	"github.com/proxyfleet/proxyfleet/proto/settings/settingstest"
)

func TestTheReferenceNamesEveryFlag(t *testing.T) {
	settingstest.Documented(t, "../../../docs/REFERENCE.md", "proxy-controlplane", newCommand(world{}).Flags(), "data-dir")
}
