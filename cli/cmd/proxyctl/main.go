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
//	130  interrupted, as by Ctrl-C
package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// version and commit are set by the linker.
var version, commit = "dev", "unknown"

func main() {
	os.Exit(mainStatus())
}

func mainStatus() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := hostWorld()
	var editing atomic.Bool
	runEditor := w.runEditor
	w.runEditor = func(ctx context.Context, editor, file string) error {
		editing.Store(true)
		defer editing.Store(false)
		return runEditor(ctx, editor, file)
	}
	signals := make(chan os.Signal, 1)
	// SIGHUP is a closed terminal: the demo must not outlive it.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for s := range signals {
			// Ctrl-C in an editor reaches all that the terminal runs, and is the editor's.
			if s != os.Interrupt || !editing.Load() {
				cancel()
			}
		}
	}()
	return run(ctx, os.Args[1:], w)
}
