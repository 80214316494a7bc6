package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakerVariable tells a process of this test that it is the waker. Where processors are
// virtual, one that sleeps is woken late by the machine below, by milliseconds on some: others
// wait for that, with an attack and without, and less with one, since it keeps processors busy.
// What they wait for the node is not seen then. A processor that never sleeps for long is woken
// at once (the kernel's Documentation/virt/kvm/halt-polling.rst). So the waker has one thread on
// each that wakes every wakerPause, in front of everybody, and does nothing.
const wakerVariable = "FLOODS_WAKER"

const (
	wakerPause      = 100 * time.Microsecond
	wakerProcessors = 2 // the node's, and that of everybody else: see separate
)

// stayAwake is what that process does, until its input ends. It says whether it could begin.
func stayAwake(string) error {
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + wakerProcessors) // the scheduler does not know that they sleep,
	debug.SetGCPercent(-1)                                      // so a collection of garbage would wait for them
	for processor := range wakerProcessors {
		begun := make(chan error)
		go wakeAgainAndAgain(processor, begun)
		if err := <-begun; err != nil {
			fmt.Println(err)
			return nil
		}
	}
	fmt.Println(wakerBegun)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

const wakerBegun = "awake"

func wakeAgainAndAgain(processor int, begun chan<- error) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(processor)
	err := errors.Join(
		unix.SchedSetaffinity(0, &set),
		unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}, 0),
	)
	if begun <- err; err != nil {
		return
	}
	for pause := unix.NsecToTimespec(int64(wakerPause)); ; {
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
	}
}

// keepAwake starts it, until the test ends, and says whether it could.
func keepAwake(t *testing.T) bool {
	t.Helper()
	said := startWaker(t)
	if said != wakerBegun {
		t.Logf("processors are not kept awake: %s", said)
	}
	return said == wakerBegun
}

func startWaker(t *testing.T) (said string) {
	t.Helper()
	s := bufio.NewScanner(startRole(t, wakerVariable, "1").out)
	s.Scan()
	return s.Text()
}

// TestTheWakerBeginsOrSaysWhyNot: processors may be too few, or rights. It ends with the test.
func TestTheWakerBeginsOrSaysWhyNot(t *testing.T) {
	switch said := startWaker(t); {
	case said == wakerBegun:
	case said == unix.EPERM.Error(), said == unix.EINVAL.Error():
		t.Log(said)
	default:
		t.Errorf("it says %q", said)
	}
}
