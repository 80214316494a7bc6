package handover

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/proxyfleet/proxyfleet/dataplane/pressure"
)

const (
	// Variable tells a new process that it is one, and from which descriptor the old
	// one's part comes.
	Variable = "PROXYFLEET_HANDOVER_FD"
	// firstFD is where os/exec puts the first extra file.
	firstFD = 3
	// exitWait is how long a new process that went silent may take to end before
	// it is killed.
	exitWait = time.Second
	// heavy is how much two processes may use of the limit that they share until the
	// hand-over is given up: where pressure.High begins.
	heavy = "85 %"
)

// Program is what the new process runs.
type Program struct {
	Path           string   // empty: that by which this process was started, looked up again
	Args           []string // after the program's name
	Stdout, Stderr io.Writer
	Timeout        time.Duration // how long it may take to be ready
	Limit          uint64        // the bytes of memory that both processes share; 0: any
}

// successor is the new process, as the old one sees it.
type successor struct {
	conn   *Conn
	cmd    *exec.Cmd
	exited chan struct{}
	status error       // after exited
	heavy  atomic.Bool // it was killed for want of memory
}

// find makes the path one that is there.
func (p *Program) find() (err error) {
	if p.Path == "" {
		if p.Path, err = exec.LookPath(os.Args[0]); err != nil {
			if p.Path, err = os.Executable(); err != nil {
				return fmt.Errorf("this program's path: %w", err)
			}
		}
	}
	p.Path, err = filepath.Abs(p.Path)
	return err
}

// start starts the new process with one end of a conversation.
func (p *Program) start() (*successor, error) {
	conn, peer, err := Pair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Stdout, cmd.Stderr = p.Stdout, p.Stderr
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, Variable+"=")
	}), fmt.Sprintf("%s=%d", Variable, firstFD))
	cmd.ExtraFiles = []*os.File{peer}
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("new process: %w", err)
	}
	s := &successor{conn: conn, cmd: cmd, exited: make(chan struct{})}
	go func() {
		s.status = cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

func (s *successor) pid() int { return s.cmd.Process.Pid }

// end waits for a process that was told, or must have noticed, that it is not to serve;
// false: it had to be killed.
func (s *successor) end() (byItself bool) {
	wait := time.NewTimer(exitWait)
	defer wait.Stop()
	select {
	case <-s.exited:
		return true
	case <-wait.C:
		_ = s.cmd.Process.Kill()
		<-s.exited
		return false
	}
}

// watch kills a new process that brings both near the limit which they share, until it is
// told to take connections: the kernel would kill the larger one, which is the one that
// serves.
func (s *successor) watch(limit uint64, logger *slog.Logger) (end func()) {
	if limit == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := pressure.Both(limit, s.pid()).Run(ctx, func(level pressure.Level) {
			if level != pressure.Calm && ctx.Err() == nil {
				s.heavy.Store(true)
				_ = s.cmd.Process.Kill()
			}
		})
		if err != nil {
			logger.Error("upgrade: memory is not watched", "error", err)
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
