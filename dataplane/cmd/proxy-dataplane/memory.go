package main

import (
	"context"
	"os"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
)

// heavy is how much two processes may use of the limit that they share until an upgrade
// is given up: where pressure.High begins.
const heavy = "85 %"

// makeMonitor makes the monitor of this process; false: there is no limit to watch.
func (n *node) makeMonitor() bool {
	if n.options.memory == 0 {
		return false
	}
	n.memory = pressure.New(n.options.memory, n.options.group)
	if n.takeover != nil {
		n.memory.Beside(os.Getppid()) // which ends its connections for a while yet
	}
	return true
}

func (n *node) underPressure(level pressure.Level) {
	n.logger.Warn("memory", "pressure", level, "limit", n.options.memory)
	n.engine.SetPressure(level)
}

// watchSuccessor kills a new process that brings both near the limit which they share,
// until it is told to take connections: the kernel would kill the larger one, which is
// the one that serves.
func (n *node) watchSuccessor(s *successor) (end func()) {
	if n.options.memory == 0 || n.options.group == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := pressure.Both(n.options.group, s.pid()).Run(ctx, func(level pressure.Level) {
			if level != pressure.Calm && ctx.Err() == nil {
				s.heavy.Store(true)
				_ = s.cmd.Process.Kill()
			}
		})
		if err != nil {
			n.logger.Error("upgrade: memory is not watched", "error", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
