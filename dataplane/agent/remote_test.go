//go:build linux

package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mainProcess is a node in a process of its own: id, network and port are its
// arguments. It lives until it is killed.
func mainProcess() {
	port, err := strconv.ParseUint(os.Args[3], 10, 16)
	if err != nil {
		os.Exit(2)
	}
	p := place{os.Args[2], uint16(port)}
	s := New(Config{
		Start: p.start(os.Args[1]), Engine: newEngine(os.Args[1]), Command: agentProcess(os.Stderr),
		Pulse:  func() (bool, bool) { return true, true },
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", os.Args[1]),
	})
	s.SetList(1, []string{"1", "2", "3"})
	s.SetVIPs(p.vips())
	go func() {
		for len(s.State().Report.GetMembers()) < 3 {
			time.Sleep(time.Millisecond)
		}
		fmt.Fprintln(os.Stderr, seesAll)
	}()
	_ = s.Run(context.Background())
}

// What processes write, and tests wait for.
const (
	seesAll   = "all members are there"
	wordHolds = "this node holds"
	wordEnds  = "this node lets go"
)

// journal is what the processes of a node wrote.
type journal struct {
	mu   sync.Mutex
	text []byte
	also io.Writer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	j.text = append(j.text, b...)
	j.mu.Unlock()
	return j.also.Write(b)
}

func (j *journal) count(word string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Count(j.text, []byte(word))
}

// countOthers counts a word in the journals of all but one.
func countOthers(nodes map[string]*remote, but, word string) (sum int) {
	for id, r := range nodes {
		if id != but {
			sum += r.journal.count(word)
		}
	}
	return sum
}

// busySecond bounds what takes some hundred milliseconds on a quiet machine. The
// bounds of the product are those of the tests in deployments/e2e.
const busySecond = 2 * time.Second

// remote is a node in a process of its own.
type remote struct {
	t       *testing.T
	cmd     *exec.Cmd
	agent   int // its process id
	journal *journal
}

func (p place) remote(t *testing.T, id string) *remote {
	t.Helper()
	r := &remote{
		t: t, cmd: exec.Command("/proc/self/exe", id, p.net, strconv.Itoa(int(p.port))),
		journal: &journal{also: t.Output()},
	}
	r.cmd.Env = append(os.Environ(), roleVariable+"=main")
	r.cmd.Stderr = r.journal
	// What the agent writes after its main process goes nowhere; Wait must not wait
	// for it.
	r.cmd.WaitDelay = time.Second
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range append(r.children(), r.agent, r.main()) {
			if pid > 0 {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		_ = r.cmd.Wait()
	})
	return r
}

// findAgent is for when the node is known to have one: before, the runtime has
// children of its own for a moment.
func (r *remote) findAgent() {
	r.t.Helper()
	eventually(r.t, "its agent", func() bool {
		if pids := r.children(); len(pids) == 1 {
			r.agent = pids[0]
		}
		return r.agent != 0
	})
}

func (r *remote) children() (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.main()))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (p place) remotes(t *testing.T) map[string]*remote {
	t.Helper()
	all := map[string]*remote{}
	for _, id := range []string{"1", "2", "3"} {
		all[id] = p.remote(t, id)
	}
	return all
}

// remoteFleet is remotes that all see each other: one that holds before the others do is
// the only one that can, for as long as it lives.
func (p place) remoteFleet(t *testing.T) map[string]*remote {
	t.Helper()
	nodes := p.remotes(t)
	eventually(t, "all see each other", func() bool { return countOthers(nodes, "", seesAll) == len(nodes) })
	return nodes
}

func (r *remote) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Error(err)
	}
}

func (r *remote) main() int { return r.cmd.Process.Pid }

// stateOf is a process's state: T stopped, Z ended and not asked for its status;
// empty: it is gone.
func stateOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	state, _, _ := strings.Cut(rest, " ")
	return state
}
