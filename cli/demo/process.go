package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// tailLines and tailBytes bound what is shown of a dead process's log.
	tailLines = 15
	tailBytes = 16 << 10
)

// child is a running process, and after an upgrade the one that follows it.
type child struct {
	Process
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and none follows it
	err  error         // valid after done
	gone chan struct{} // closed when nothing is left that it had started either

	mu   sync.Mutex
	now  *os.Process // what is waited for
	sent os.Signal   // the last one; what comes after gets it too
}

// startChild starts the process; what it prints goes to its log, and what it
// prints to standard output to a log of its own if it has one (nodes write
// their access log there). The caller must stay on one locked thread: the
// kernel's tie to the parent holds as long as the thread that started the child.
func startChild(p Process) (*child, error) {
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	defer log.Close() // the child has its own copy
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = childEnvironment(os.Environ())
	cmd.Stdout, cmd.Stderr = log, log
	if p.OutLog != "" {
		out, err := os.OpenFile(p.OutLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		defer out.Close()
		cmd.Stdout = out
	}
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: %s is not there; build it first (make build)", p.Name, p.Path)
		}
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	c := &child{Process: p, cmd: cmd, done: make(chan struct{}), gone: make(chan struct{}), now: cmd.Process}
	go c.follow()
	return c, nil
}

// follow waits for the process, for those that follow it, and then for what they
// left behind. An orphan is this process's child before the end of its parent is
// heard of, so none is missed.
func (c *child) follow() {
	defer close(c.gone)
	c.err = c.cmd.Wait()
	ended := false
	for {
		p, follows := nextOrphan(c.cmd.Process.Pid, c.Args)
		if !follows && !ended {
			ended = true
			close(c.done)
		}
		if p == nil {
			return
		}
		c.take(p)
		state, err := p.Wait()
		if err == nil && !state.Success() {
			err = &exec.ExitError{ProcessState: state}
		}
		if !ended {
			c.err = err
		}
	}
}

// take makes the process the one that is waited for.
func (c *child) take(p *os.Process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = p
	if c.sent != nil {
		_ = p.Signal(c.sent) // fails for what has ended: fine
	}
}

// signal asks what runs now to end, and what comes after it.
func (c *child) signal(s os.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = s
	// Where there is no SIGTERM, and for what has ended already, this fails.
	if err := c.now.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = c.now.Kill()
	}
}

// pid is the process that runs now.
func (c *child) pid() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Pid
}

// childEnvironment leaves out what would change the fleet's programs: the demo
// says everything by flags.
func childEnvironment(environment []string) []string {
	var kept []string
	for _, e := range environment {
		if !strings.HasPrefix(e, "PROXYFLEET_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// stopChildren asks all to end, waits, and kills what is left after the grace
// time. When it returns, all have ended, and what they had started too.
func stopChildren(children []*child, grace time.Duration) {
	for _, c := range children {
		c.signal(syscall.SIGTERM)
	}
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	for _, c := range children {
		select {
		case <-c.gone:
		case <-deadline.C:
			for _, c := range children {
				c.signal(os.Kill)
			}
			deadline.Reset(0)
			<-c.gone
		}
	}
}

// diedError says that a process ended that should run, with the end of its log.
type diedError struct {
	process Process
	cause   error
	tail    string
}

func (e *diedError) Error() string {
	how := "ended"
	if e.cause != nil {
		how = "died (" + e.cause.Error() + ")"
	}
	if e.tail == "" {
		return fmt.Sprintf("%s %s; it logged nothing", e.process.Name, how)
	}
	return fmt.Sprintf("%s %s; the end of %s:\n%s", e.process.Name, how, e.process.Log, e.tail)
}

func (c *child) died() error {
	return &diedError{process: c.Process, cause: c.err, tail: tailOf(c.Log)}
}

// tailOf returns the last lines of a file, indented; empty if there are none.
func tailOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return ""
	}
	data = bytes.TrimRight(data, "\n")
	if len(data) == 0 {
		return ""
	}
	lines := strings.Split(string(data), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "  " + strings.Join(lines, "\n  ")
}
