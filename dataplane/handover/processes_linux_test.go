package handover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the processes of a test are told by their environment.
const (
	roleVariable  = "HANDOVER_TEST_ROLE"
	notesVariable = "HANDOVER_TEST_NOTES"
)

// TestOtherProcess is no test of its own: tests run it in processes of theirs.
func TestOtherProcess(t *testing.T) {
	role := os.Getenv(roleVariable)
	if role == "" {
		t.Skip("nobody asked for a process")
	}
	if role == "dies" {
		t.Setenv(roleVariable, "left alone")
		o := newOldNode(t)
		o.resigns = func() { _ = unix.Kill(os.Getpid(), unix.SIGKILL) }
		t.Fatal(give(t.Context(), o, otherProcess(t)))
	}
	note(role + ": begins")
	if role == "refuses" {
		Refuse(os.LookupEnv, errors.New("--labels: no"))
		os.Exit(2)
	}
	p, err := Inherit(os.LookupEnv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if role == "fails" {
		p.Fail(errors.New("no room"))
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = p.Run(ctx, &newEngine{role: role}, func() {
		note(role + ": serves")
		cancel()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// note leaves a line to the test.
func note(line string) {
	f, err := os.OpenFile(os.Getenv(notesVariable), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if _, err := f.WriteString(line + "\n"); err != nil {
		panic(err)
	}
}

// notes makes the file of them, and reads it.
func notes(t *testing.T) (read func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notes")
	t.Setenv(notesVariable, path)
	return func() string {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
}

// newEngine is the engine of a new process.
type newEngine struct{ role string }

func (e *newEngine) Resume() {
	if e.role == "ends" {
		os.Exit(3)
	}
}

func (*newEngine) CloseUnclaimed() []netip.AddrPort {
	return []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:80")}
}

// oldNode notes what is asked of it.
type oldNode struct {
	admin     net.Listener
	calls     []string
	unclaimed []netip.AddrPort
	resigns   func() // nil: nothing more
}

func newOldNode(t *testing.T) *oldNode {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &oldNode{admin: l}
}

func (o *oldNode) Hold(context.Context) (Estate, error) {
	o.calls = append(o.calls, "hold")
	return Estate{
		EachSocket: func(func(netip.AddrPort, []int) error) error { return nil },
		Admin:      o.admin, AdminAddress: "127.0.0.1:0",
	}, nil
}

func (o *oldNode) Resign(context.Context) (undo func()) {
	o.calls = append(o.calls, "resign")
	if o.resigns != nil {
		o.resigns()
	}
	return func() { o.calls = append(o.calls, "undo") }
}

func (o *oldNode) Resume() { o.calls = append(o.calls, "resume") }

func (o *oldNode) Leave(_ context.Context, _ int, unclaimed []netip.AddrPort) {
	o.calls, o.unclaimed = append(o.calls, "leave"), unclaimed
}

// program is a process that plays a part.
func program(t *testing.T, role string) Program {
	t.Helper()
	t.Setenv(roleVariable, role)
	return otherProcess(t)
}

func otherProcess(t *testing.T) Program {
	return Program{
		Path: os.Args[0], Args: []string{"-test.run=^TestOtherProcess$"}, Stdout: t.Output(), Stderr: t.Output(), Timeout: time.Minute,
	}
}

func give(ctx context.Context, node Old, p Program) error {
	_, err := Give(ctx, node, p, slog.New(slog.DiscardHandler), func(string, ...any) {})
	return err
}

func TestANodeLeavesOnlyWhenTheNewProcessServesAndGoesOnOtherwise(t *testing.T) {
	for _, c := range []struct{ role, failure, calls string }{
		{"serves", "", "hold resign leave"},
		{"fails", "the new process failed: no room", "hold resume"},
		{"refuses", "the new process failed: --labels: no", ""},
		{"ends", "ended before it was ready: exit status 3", "hold resign undo resume"},
	} {
		t.Run(c.role, func(t *testing.T) {
			read := notes(t)
			o := newOldNode(t)
			err := give(t.Context(), o, program(t, c.role))
			if (err == nil) != (c.failure == "") || err != nil && !strings.Contains(err.Error(), c.failure) {
				t.Errorf("%v, expected %q", err, c.failure)
			}
			if calls := strings.Join(o.calls, " "); calls != c.calls {
				t.Errorf("calls %q, expected %q", calls, c.calls)
			}
			if serves := strings.Contains(read(), "serves: serves"); serves != (err == nil) || serves != (len(o.unclaimed) == 1) {
				t.Errorf("serves: %v, unclaimed %v", serves, o.unclaimed)
			}
		})
	}
}

// The old process may be stopped while the new one is ready, and goes on until it has ended
// its connections: two processes must not serve.
func TestANewProcessThatIsGivenUpDoesNotServe(t *testing.T) {
	read := notes(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := newOldNode(t)
	o.resigns = cancel
	err := give(ctx, o, program(t, "given up"))
	if err == nil || !strings.Contains(err.Error(), "stopping") || strings.Join(o.calls, " ") != "hold resign undo resume" {
		t.Errorf("%v, calls %q", err, o.calls)
	}
	if got := read(); got != "given up: begins\n" {
		t.Errorf("it noted %q", got)
	}
}

// The kernel takes the largest process when memory runs out, and that is the old one while
// there are two. The new one has all that a node needs then.
func TestANewProcessThatIsReadyServesAloneIfTheOldOneDies(t *testing.T) {
	read := notes(t)
	p := program(t, "dies")
	err := exec.CommandContext(t.Context(), p.Path, p.Args...).Run() //nolint:gosec // this test
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the old process: %v", err)
	}
	for end := time.Now().Add(20 * time.Second); !strings.Contains(read(), "left alone: serves"); {
		if time.Now().After(end) {
			t.Fatalf("it noted %q", read())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAnOldProcessThatDiesAfterGoIsNotWaitedFor(t *testing.T) {
	old, next, _ := ends(t)
	p := newPredecessor(next, slog.New(slog.DiscardHandler))
	p.parent = -1 // as it is when that process has ended
	served := make(chan struct{})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e := resumed(func() { old.Close() })
	go func() { ended <- p.Run(ctx, e, func() { close(served) }) }()
	_, err := old.Receive(Warm)
	if err == nil {
		err = old.Send(Message{Kind: Go})
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-served:
		cancel()
	case err := <-ended:
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// resumed is an engine that calls something when it takes connections.
type resumed func()

func (f resumed) Resume()                        { f() }
func (resumed) CloseUnclaimed() []netip.AddrPort { return nil }

// A node with hundreds of listeners whose --listen-address was changed has no use for any
// of the addresses that it inherits, and says so after it was told to take connections:
// were that to fail, those that it took would be lost.
func TestAnyNumberOfAddressesCanBeLeft(t *testing.T) {
	for _, number := range []int{0, 1, 406, 407, 2000} {
		old, next, _ := ends(t)
		want := make([]netip.AddrPort, number)
		for i := range want {
			want[i] = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.200"), uint16(10000+i))
		}
		said := make(chan error, 1)
		go func() {
			_, err := next.Receive(Go)
			if err == nil {
				err = (&Predecessor{conn: next}).sayReady(want)
			}
			said <- err
		}()
		got, err := (&successor{conn: old}).sendGo(func() bool { return true })
		if failed := <-said; failed != nil || err != nil || !slices.Equal(got, want) {
			t.Errorf("%d addresses: said: %v; heard %d of them: %v", number, failed, len(got), err)
		}
	}
}

// Both processes of an upgrade are in one cgroup. The kernel would kill the larger one
// when that is full, and it is the one that serves.
func TestANodeWhoseSuccessorNeedsTooMuchMemoryGoesOn(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err != nil {
		t.Skip("the new process of this test is written in Perl: ", err)
	}
	own, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(own), &size, &resident); err != nil {
		t.Fatal(err)
	}
	hungry := filepath.Join(t.TempDir(), "hungry")
	if err := os.WriteFile(hungry, fmt.Appendf(nil, "#!%s\n$x = 'x' x (256 << 20); sleep 60;\n", perl), 0o700); err != nil {
		t.Fatal(err)
	}
	p := Program{
		Path: hungry, Stdout: t.Output(), Stderr: t.Output(), Timeout: time.Minute,
		// With room for 64 MiB more. The new process wants 256.
		Limit: (resident*uint64(unix.Getpagesize()) + 64<<20) * 100 / 85,
	}
	begin := time.Now()
	err = give(t.Context(), newOldNode(t), p)
	if err == nil || !strings.Contains(err.Error(), "memory") || time.Since(begin) > 50*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}
