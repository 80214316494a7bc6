package demo

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/proxyfleet/proxyfleet/cli/client"
)

const (
	defaultReadyTimeout = time.Minute
	contextName         = "demo"
)

// Config says what demo to run.
type Config struct {
	// Dir holds all state and logs. Empty: a temporary one that is removed at the
	// end. One that exists is used as it is: what an earlier demo left goes on.
	Dir string
	// Nodes is how many nodes run, 1 to MaxNodes. Default 3.
	Nodes int
	// Loops is the --loops of each node. Default 1.
	Loops int
	// Self is the path of proxyctl. The fleet's programs are beside it.
	Self string
	// Out gets what people read.
	Out io.Writer
	// Live says that Out is a terminal: the status line is renewed in place.
	Live bool
	// ExitAfterReady ends the demo as soon as every node runs the first
	// configuration.
	ExitAfterReady bool
	// ReadyTimeout is how long that may take. Default 1 minute.
	ReadyTimeout time.Duration

	layout layout
	grace  time.Duration // how long processes may take to end by themselves
}

func (c Config) withDefaults() Config {
	if c.Nodes == 0 {
		c.Nodes = defaultNodes
	}
	if c.Loops == 0 {
		c.Loops = 1
	}
	if c.ReadyTimeout == 0 {
		c.ReadyTimeout = defaultReadyTimeout
	}
	if c.grace == 0 {
		c.grace = stopGrace
	}
	if c.layout.rest == "" {
		c.layout = defaultLayout()
	}
	return c
}

// Check says what is wrong with the config. Zero values stand for defaults.
func (c Config) Check() error {
	c = c.withDefaults()
	if c.Nodes < 1 || c.Nodes > MaxNodes {
		return fmt.Errorf("--nodes %d: expected 1 to %d", c.Nodes, MaxNodes)
	}
	if c.Loops < 1 || c.Loops > maxLoops {
		return fmt.Errorf("--loops %d: expected 1 to %d", c.Loops, maxLoops)
	}
	if c.ReadyTimeout < 0 {
		return fmt.Errorf("--ready-timeout %s: expected more than 0", c.ReadyTimeout)
	}
	return nil
}

// makeDir makes the demo's directory; remove takes it away again if the demo
// made it up.
func makeDir(dir string) (path string, temporary bool, err error) {
	if dir == "" {
		path, err = os.MkdirTemp("", "proxyfleet-demo-")
		return path, true, err
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", false, err
	}
	return path, false, os.MkdirAll(path, 0o700)
}

// writeContext writes the context file by which proxyctl finds this demo.
func writeContext(p Plan) error {
	var contexts client.Contexts
	contexts.Set(client.Context{Name: contextName, Server: p.Server})
	return contexts.Write(p.Context)
}
