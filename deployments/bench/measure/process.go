package measure

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/proxyfleet/proxyfleet/deployments/bench/procfs"
)

// stopTimeout is what a process gets to end after SIGTERM.
const stopTimeout = 10 * time.Second

// process is a program that runs.
type process struct {
	name    string
	command *exec.Cmd
	log     string // of messages
	stdin   io.WriteCloser
	stdout  io.ReadCloser
	done    chan struct{}
	err     error // once done is closed
}

// spawn says how a process is started.
type spawn struct {
	name   string
	args   []string
	core   int
	dir    string
	stdout string // a file; empty: the messages' file, or a pipe
	pipes  bool   // stdin and stdout are ours
}

func start(s *starter, w spawn) (*process, error) {
	p := &process{name: w.name, log: filepath.Join(w.dir, "messages.log"), done: make(chan struct{})}
	messages, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer messages.Close()
	p.command = exec.Command(w.args[0], w.args[1:]...)
	p.command.Stdout, p.command.Stderr = messages, messages
	p.command.Env = append(cleanEnv(), "HOME="+w.dir, "XDG_DATA_HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir)
	if w.stdout != "" {
		out, err := os.OpenFile(w.stdout, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		defer out.Close()
		p.command.Stdout = out
	}
	if w.pipes {
		p.command.Stdout = nil
		if p.stdin, err = p.command.StdinPipe(); err != nil {
			return nil, err
		}
		if p.stdout, err = p.command.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := s.start(p.command, w.core); err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	go func() {
		// Not Wait alone: it closes the pipes before they are read.
		state, err := p.command.Process.Wait()
		if err == nil && !state.Success() {
			err = errors.New(state.String())
		}
		p.err = err
		close(p.done)
	}()
	return p, nil
}

// cleanEnv is the environment without what would steer the programs.
func cleanEnv() []string {
	var out []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "PROXYFLEET_"), strings.HasPrefix(name, "XDG_"), strings.HasPrefix(name, "GO"),
			name == "HOME", strings.HasPrefix(name, "NGINX"), strings.HasPrefix(name, "CADDY"):
		default:
			out = append(out, v)
		}
	}
	return out
}

func (p *process) pid() int { return p.command.Process.Pid }

// ended says that the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end and waits; then it and its children are killed.
func (p *process) stop() {
	if p.stdin != nil {
		p.stdin.Close() // what reads commands ends with them
	}
	defer func() {
		if p.stdout != nil {
			p.stdout.Close()
		}
	}()
	if p.ended() {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	tree, _ := procfs.Tree(p.pid())
	for _, s := range tree {
		if child, err := os.FindProcess(s.PID); err == nil {
			_ = child.Kill()
		}
	}
	<-p.done
}

// trouble is an error with the last that the process said.
func (p *process) trouble(err error) error {
	text, _ := os.ReadFile(p.log)
	const most = 600
	text = bytes.TrimSpace(text)
	if len(text) > most {
		text = append([]byte("…"), text[len(text)-most:]...)
	}
	if len(text) == 0 {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return fmt.Errorf("%s: %w: %s", p.name, err, bytes.ReplaceAll(text, []byte("\n"), []byte(" / ")))
}
