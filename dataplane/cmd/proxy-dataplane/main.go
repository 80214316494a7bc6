// Command proxy-dataplane is a node: it carries the traffic, as its control plane
// or a file of resources says.
//
// # Exit status
//
//	0  stopped by a signal; the exchanges at hand have ended
//	1  failed
//	2  wrong use: a flag, a variable, the configuration file, or a resource file
//	   that does not hold at the start
//
// # Files
//
//	command, options, gossip   the program's flags, and what they may say
//	node                       the node: its parts, wired
//	vips, handover, memory     the node in virtual IPs (away: why it takes none; viplists: who
//	                           is expected), in an upgrade, under its limit
//	upgrade, export            other commands, about a node of this machine
//	lint, explain              and about files; examine and standin are of these two
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// ignoreSignals leaves the vip-agent to its main process, also when a service
// manager or a terminal signals both.
func ignoreSignals() { signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE) }

// ignorePipe is for what carries traffic: the end of whoever reads its access log must
// not end it. What prints a result ends with its reader, as other commands do.
func ignorePipe() { signal.Ignore(syscall.SIGPIPE) }

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
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	return run(ctx, os.Args[1:], world{
		getenv: os.LookupEnv, environment: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, reload: reload,
	})
}
