package fleettest

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stopTimeout is what a process gets to end after SIGTERM.
const stopTimeout = 20 * time.Second

// Process is a running program.
type Process struct {
	t       testing.TB
	name    string
	command *exec.Cmd
	log     string
	done    chan struct{}
	err     error
}

// Binary is the path of a built program; the test fails if it was not built.
func Binary(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(repository(t), "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run make build (or make test, which does)", path)
	}
	return path
}

// Repository is the top folder of the source tree.
func repository(t testing.TB) string {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no source path")
	}
	if !filepath.IsAbs(file) { // built with -trimpath: the working directory is deployments/e2e
		wd, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		return filepath.Join(wd, "..", "..")
	}
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// start runs a program; its output goes to a file in dir. It is ended with the
// test, and dies with the test's process.
func start(t testing.TB, dir, name, binary string, args ...string) *Process {
	t.Helper()
	path := filepath.Join(dir, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := exec.Command(binary, args...)
	command.Stdout, command.Stderr = log, log
	command.Env = cleanEnv()
	command.SysProcAttr = deathWithParent()
	p := &Process{t: t, name: name, command: command, log: path, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel ends the child when the thread that started it ends, so that
		// thread is kept until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := command.Start()
		started <- err
		if err == nil {
			p.err = command.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", name, tail(path))
		}
	})
	return p
}

// cleanEnv is the environment without what would steer our programs.
func cleanEnv() []string {
	var out []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PROXYFLEET_") && !strings.HasPrefix(v, "PROXYCTL_") {
			out = append(out, v)
		}
	}
	return out
}

// PID is the process id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Stop asks the process to end, waits, and kills it if it does not.
func (p *Process) Stop() {
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.t.Errorf("%s did not end after SIGTERM", p.name)
		p.Kill()
	}
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.done
}

// Ended says whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Log is what the process wrote.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

func tail(path string) string {
	const most = 6000
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

// Wait asks until the condition holds, for at most timeout.
func Wait(t testing.TB, timeout time.Duration, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s for: %s", timeout, what)
		case <-tick.C:
		}
	}
}

// Answers says whether a GET is answered with 200.
func Answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Run runs a program to its end.
func Run(t testing.TB, stdin, binary string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	command := exec.CommandContext(ctx, binary, args...)
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	command.Env = cleanEnv()
	err := command.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatalf("%s %v: %v", binary, args, err)
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}
