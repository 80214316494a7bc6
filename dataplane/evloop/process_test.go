//go:build linux

package evloop

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Some tests need a process beside their own: what it computes must not be in the way of the
// node's, or it needs an environment of its own. It is this program again, in a role.
const (
	roleVariable = "PROXYFLEET_TEST_ROLE"
	roleShake    = "shake"    // bursts of ClientHellos
	roleProbe    = "probe"    // a request a millisecond, one after the other
	roleExtended = "extended" // a server of extendedBackend
)

// TestInARole is no test: it is what such a process runs.
func TestInARole(t *testing.T) {
	role, address, _ := strings.Cut(os.Getenv(roleVariable), " ")
	switch role {
	case roleShake:
		shakeAgain(t, address)
	case roleProbe:
		probeAgain(t, address)
	case roleExtended:
		serveExtended()
	default:
		t.Skip("runs for other tests")
	}
}

// inRole is a process that plays a role, not started.
func inRole(t *testing.T, role string, environment ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInARole$", "-test.timeout=5m")
	cmd.Env = append(append(os.Environ(), roleVariable+"="+role), environment...)
	return cmd
}

// playRole starts a process that plays a role until stop is called, which returns
// what it printed.
func playRole(t *testing.T, role, address string) (stop func() string) {
	t.Helper()
	cmd := inRole(t, role+" "+address, "GOMAXPROCS=1")
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		input.Close() // which it waits for
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", role, err, out.String())
		}
		return out.String()
	}
}

// ended is closed when the parent has no more use for the process.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}
