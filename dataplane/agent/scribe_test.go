//go:build linux

package agent

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
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

// stuckWriter takes nothing until it is let go.
type stuckWriter struct {
	free chan struct{}
	mu   sync.Mutex
	text strings.Builder
}

func (w *stuckWriter) Write(b []byte) (int, error) {
	<-w.free
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func TestLinesThatFindNoRoomAreCounted(t *testing.T) {
	const more = 10
	w := &stuckWriter{free: make(chan struct{})}
	s := newScribe(w)
	for i := range 1 + maxLines + more { // one may be on its way
		fmt.Fprintf(s, "line %d\n", i)
	}
	s.close() // which does not wait for ever
	close(w.free)
	s.close()
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.text.String()
	lines := strings.Count(text, "line ")
	if lines < maxLines || lines > maxLines+1 || !strings.Contains(text, fmt.Sprintf("lines=%d\n", 1+maxLines+more-lines)) {
		t.Errorf("%d lines, and at the end %q", lines, text[max(0, len(text)-200):])
	}
}
