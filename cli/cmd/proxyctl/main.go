// Command proxyctl runs a proxyfleet: it applies and shows configuration,
// watches nodes, and starts a demo fleet. It speaks to the control plane's REST
// interface and to nothing else.
//
// # Exit status
//
//	0  done
//	1  failed or refused (diff: there are differences)
//	2  wrong use
//	3  diff only: it could not compare
//	4  no control plane answers
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version and commit are set by the linker.
var version, commit = "dev", "unknown"

func main() {
	os.Exit(mainStatus())
}

func mainStatus() int {
	// SIGHUP is a closed terminal: the demo must not outlive it.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return run(ctx, os.Args[1:], hostWorld())
}
