package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// role is a process that runs one test of this program: one that is no test, but what a process
// does for other tests.
type role struct {
	pid int
	in  io.Writer
	out io.Reader
}

// startRole starts one, which finds text in a variable. Its input ends with the test, and with that it
// has to end.
func startRole(t *testing.T, test, variable, text string) *role {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.timeout=0")
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
