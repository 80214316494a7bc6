package main

import (
	"os"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
)

// makeMonitor makes the monitor of this process; false: there is no limit to watch.
func (n *node) makeMonitor() bool {
	if n.options.memory == 0 {
		return false
	}
	n.memory = pressure.New(n.options.memory, n.options.group)
	if n.predecessor != nil {
		n.memory.Beside(os.Getppid()) // which ends its connections for a while yet
	}
	return true
}

func (n *node) underPressure(level pressure.Level) {
	n.logger.Warn("memory", "pressure", level, "limit", n.options.memory)
	n.engine.SetPressure(level)
}
