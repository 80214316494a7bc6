//go:build linux

package agent

import (
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proxyfleet/proxyfleet/proto/lifecycle/lifecycletest"
)

// TestAnAgentWhoseMessagesNobodyReadsHolds gives it a pipe that is full.
func TestAnAgentWhoseMessagesNobodyReadsHolds(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	for err := error(nil); err == nil; {
		_, err = unix.Write(pipe[1], make([]byte, 4096))
	}
	if err := unix.SetNonblock(pipe[1], false); err != nil {
		t.Fatal(err)
	}
	full := os.NewFile(uintptr(pipe[1]), "full")
	defer full.Close()
	p := newPlace(t)
	s := New(Config{
		Start: p.start("1"), Engine: newEngine("1"),
		Command: func() *exec.Cmd {
			c := agentProcess(nil)()
			c.Stderr = full
			return c
		},
		Pulse: func() (bool, bool) { return true, true }, Logger: slog.New(slog.DiscardHandler),
	})
	s.SetList(1, []string{"1"})
	s.SetVIPs(p.vips())
	defer lifecycletest.Run(t, s.Run)()
	eventually(t, "it to hold", func() bool {
		v := s.Statuses()
		return len(v) == 1 && v[0].GetHolds() || s.State().Restarts > 0
	})
	if n := s.State().Restarts; n > 0 {
		t.Errorf("it was replaced %d times: %s", n, s.State().Problem)
	}
}
