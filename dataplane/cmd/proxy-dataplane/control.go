package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	controlName = "control.sock"
	// maxSocketPath is what a unix address holds, but for its last zero.
	maxSocketPath = 107
	// maxControlLine bounds a request and an answer, each a line of JSON.
	maxControlLine = 64 << 10
	// controlTimeout is how long a client may take to ask, and to take a line.
	controlTimeout = 5 * time.Second
	// maxControlClients is more than people ask at the same time.
	maxControlClients = 8
	// acceptPause is how long a client waits that could not be accepted.
	acceptPause = 100 * time.Millisecond
)

// upgradeRequest is what a client of the control socket says.
type upgradeRequest struct {
	Ask string `json:"ask"` // "upgrade"
	// Binary is the new program's path; empty: the path of the running one.
	Binary        string `json:"binary,omitempty"`
	TimeoutMillis int64  `json:"timeoutMillis"`
}

func (r upgradeRequest) timeout() time.Duration {
	return time.Duration(r.TimeoutMillis) * time.Millisecond
}

// upgradeAnswer is one line of the answer: Progress any number of times, then
// Error or Done.
type upgradeAnswer struct {
	Progress string `json:"progress,omitempty"`
	Error    string `json:"error,omitempty"`
	Done     bool   `json:"done,omitempty"`
	PID      int    `json:"pid,omitempty"`     // of the new process
	OldPID   int    `json:"oldPid,omitempty"`  // of the one that ends its connections
	DrainMS  int64  `json:"drainMs,omitempty"` // how long that may take
}

// control is the socket by which this machine's users ask the running node for
// things. Who may open it is said by its mode and its directory's.
type control struct {
	path, temporary string
	listener        net.Listener // nil: there is none
	logger          *slog.Logger
	upgrade         func(ctx context.Context, r upgradeRequest, say func(string, ...any)) (pid int, err error)
	drain           time.Duration
	clients         chan struct{}

	mu  sync.Mutex
	own os.FileInfo // guarded by mu; what claim put at path; nil: nothing
}

// nodeDir is where a node keeps its state.
func nodeDir(stateDir, nodeID string) string {
	return filepath.Join(stateDir, url.PathEscape(nodeID))
}

// controlPath is where a node's control socket is.
func controlPath(stateDir, nodeID string) (string, error) {
	path, err := filepath.Abs(filepath.Join(nodeDir(stateDir, nodeID), controlName))
	if err != nil {
		return "", err
	}
	if len(path)+len(".4194304") > maxSocketPath {
		return "", fmt.Errorf("control socket %s: the path is too long for a unix socket: use a --state-dir that is shorter by %d bytes", path, len(path)+len(".4194304")-maxSocketPath)
	}
	return path, nil
}

// openControl opens the socket under a name that nobody knows until claim. A node
// works without it, so what is in the way is told and no more.
func openControl(o options, logger *slog.Logger) *control {
	c := &control{logger: logger, drain: o.drainTimeout, clients: make(chan struct{}, maxControlClients)}
	if err := c.open(o); err != nil {
		logger.Warn("no control socket: this node cannot be upgraded without a restart", "error", err)
	}
	return c
}

func (c *control) open(o options) error {
	path, err := controlPath(o.stateDir, o.nodeID)
	if err != nil {
		return err
	}
	c.path, c.temporary = path, fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.Remove(c.temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", c.temporary)
	if err != nil {
		return err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // its name will be another one, and perhaps another's
	}
	if err := os.Chmod(c.temporary, 0o600); err != nil {
		l.Close()
		return err
	}
	c.listener = l
	return nil
}

// claim makes this process the one that is asked from now on.
func (c *control) claim() {
	if c.listener == nil {
		return
	}
	info, err := os.Stat(c.temporary)
	if err == nil {
		err = os.Rename(c.temporary, c.path)
	}
	if err != nil {
		c.logger.Warn("no control socket: this node cannot be upgraded without a restart", "error", err)
		return
	}
	c.mu.Lock()
	c.own = info
	c.mu.Unlock()
}

// Run answers until ctx ends, and removes the socket unless another process has
// put its own there.
func (c *control) Run(ctx context.Context) error {
	if c.listener == nil {
		<-ctx.Done()
		return nil
	}
	var wait sync.WaitGroup
	defer c.remove()
	defer wait.Wait()
	stop := context.AfterFunc(ctx, func() { c.listener.Close() })
	defer stop()
	for {
		conn, err := c.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// Want of descriptors: a node that serves does not end since one of its users
			// cannot ask.
			c.logger.Warn("control socket: a client waits", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		select {
		case c.clients <- struct{}{}:
			wait.Go(func() {
				c.serve(ctx, conn)
				<-c.clients
			})
		default:
			conn.Close()
		}
	}
}

func (c *control) remove() {
	_ = os.Remove(c.temporary) // there only if it was never claimed
	c.mu.Lock()
	defer c.mu.Unlock()
	if info, err := os.Stat(c.path); err == nil && c.own != nil && os.SameFile(info, c.own) {
		_ = os.Remove(c.path)
	}
	c.own = nil
}

// serve answers one client. One that leaves early changes nothing.
func (c *control) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	answer := func(a upgradeAnswer) {
		_ = conn.SetWriteDeadline(time.Now().Add(controlTimeout))
		_ = json.NewEncoder(conn).Encode(a)
	}
	_ = conn.SetReadDeadline(time.Now().Add(controlTimeout))
	var r upgradeRequest
	line, err := bufio.NewReader(io.LimitReader(conn, maxControlLine)).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	switch {
	case err != nil:
		answer(upgradeAnswer{Error: "bad request: " + err.Error()})
		return
	case r.Ask != "upgrade":
		answer(upgradeAnswer{Error: fmt.Sprintf("this node does not know how to %q", r.Ask)})
		return
	case r.TimeoutMillis <= 0:
		answer(upgradeAnswer{Error: "bad request: no timeout"})
		return
	}
	c.logger.Info("upgrade: begins", "binary", r.Binary, "timeout", r.timeout())
	pid, err := c.upgrade(ctx, r, func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		c.logger.Info("upgrade: " + text)
		answer(upgradeAnswer{Progress: text})
	})
	if err != nil {
		c.logger.Error("upgrade: failed, this process goes on", "error", err)
		answer(upgradeAnswer{Error: err.Error()})
		return
	}
	answer(upgradeAnswer{Done: true, PID: pid, OldPID: os.Getpid(), DrainMS: c.drain.Milliseconds()})
}
