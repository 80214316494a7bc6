package measure

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// starter starts processes on a thread of its own: a child gets the processors
// of the thread that starts it, and a child that is to end with us ends with that
// thread.
type starter struct {
	orders chan order
	done   chan struct{}
}

type order struct {
	command *exec.Cmd
	core    int
	result  chan error
}

func newStarter() *starter {
	s, _ := newStarterIn(func() error { return nil })
	return s
}

// newStarterIn makes a starter whose thread is prepared first.
func newStarterIn(prepare func() error) (*starter, error) {
	s := &starter{orders: make(chan order), done: make(chan struct{})}
	prepared := make(chan error, 1)
	go func() {
		defer close(s.done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := prepare()
		prepared <- err
		if err != nil {
			return
		}
		for o := range s.orders {
			o.result <- startOn(o.command, o.core)
		}
	}()
	return s, <-prepared
}

// newNetworkStarter makes a starter whose processes have a network of their own:
// loopback alone, in packets as long as an Ethernet takes. The network ends with
// the last of them.
func newNetworkStarter() (*starter, error) {
	return newStarterIn(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("a network of its own: %w", err)
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		r, err := unix.NewIfreq("lo")
		if err != nil {
			return err
		}
		r.SetUint32(ethernet)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFMTU, r); err != nil {
			return fmt.Errorf("length of packets: %w", err)
		}
		r.SetUint16(unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
		return nil
	})
}

// ethernet is how long its packets are, at most.
const ethernet = 1500

func startOn(command *exec.Cmd, core int) error {
	var set unix.CPUSet
	set.Set(core)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("processor %d: %w", core, err)
	}
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return command.Start()
}

func (s *starter) start(command *exec.Cmd, core int) error {
	o := order{command, core, make(chan error, 1)}
	s.orders <- o
	return <-o.result
}

// close ends the thread, and with it what still runs.
func (s *starter) close() {
	close(s.orders)
	<-s.done
}

// stayOn holds this process to a processor, with all threads that it has and
// will have, until release is called.
func stayOn(core int) (release func(), err error) {
	var before, set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &before); err != nil {
		return nil, fmt.Errorf("processors: %w", err)
	}
	set.Set(core)
	if err := setAll(&set); err != nil {
		return nil, fmt.Errorf("processor %d: %w", core, err)
	}
	return func() { _ = setAll(&before) }, nil
}

func setAll(set *unix.CPUSet) error {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		id, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, set); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// allowDescriptors raises what this process and its children may open, as far as
// it goes, and returns that.
func allowDescriptors(want uint64) (uint64, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	if limit.Max < want {
		// Root may; others keep what they have.
		if raised := (unix.Rlimit{Cur: want, Max: want}); unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			return want, nil
		}
	}
	limit.Cur = limit.Max
	// Also if nothing changes: only what was set is inherited.
	return limit.Cur, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// fileSystem names the kind of file system that a directory is on, and how much
// room it has.
func fileSystem(dir string) (kind string, free uint64) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "an unknown file system", 0
	}
	kind = "a disk"
	if s.Type == unix.TMPFS_MAGIC {
		kind = "tmpfs"
	}
	return kind, s.Bavail * uint64(s.Bsize)
}

// online is the number of processors that this process may use.
func online() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(os.Getpid(), &set); err != nil {
		return runtime.NumCPU()
	}
	return set.Count()
}
