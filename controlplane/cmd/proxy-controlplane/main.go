// Command proxy-controlplane keeps a fleet's configuration in etcd and feeds it
// to the nodes. People reach it by REST, nodes by gRPC.
//
// # Exit status
//
//	0  stopped by a signal, everything closed
//	1  failed
//	2  wrong use: a flag, a variable or the configuration file
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version and commit are set by the linker. Go itself notes no commit where
// several modules are joined.
var version, commit = "dev", "unknown"

func main() {
	os.Exit(mainStatus())
}

func mainStatus() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for a clean end; after it signals kill, as they do
	// to any program.
	context.AfterFunc(ctx, stop)
	return run(ctx, os.Args[1:], world{
		getenv: os.LookupEnv, environment: os.Environ(), stdout: os.Stdout, stderr: os.Stderr, waits: defaultWaits(),
	})
}
