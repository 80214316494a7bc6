//go:build linux

package evloop

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv(backendEnv) != "" {
		serveExtended()
		return
	}
	os.Exit(m.Run())
}
