package e2e

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// role is a process of this program that runs no tests, but does something for one.
type role struct {
	pid int
	in  io.Writer
	out io.Reader
}

// roles has what they do, by the variable in which such a process finds its text.
var roles = map[string]func(text string) error{
	othersVariable: serveAsOthers,
	wakerVariable:  stayAwake,
}

// TestMain has a process that was started for a role do that.
func TestMain(m *testing.M) {
	for variable, play := range roles {
		if text := os.Getenv(variable); text != "" {
			if err := play(text); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// startRole starts one. Its input ends with the test, and with that it has to end.
func startRole(t *testing.T, variable, text string) *role {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), variable+"="+text)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, errIn := command.StdinPipe()
	out, errOut := command.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		t.Fatal(err)
	}
	started, end, ended := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() { // the child ends with the thread that started it
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := command.Start()
		started <- err
		if err == nil {
			<-end
			_ = command.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		close(end)
		<-ended
	})
	return &role{pid: command.Process.Pid, in: in, out: out}
}
