//go:build linux

package evloop

import (
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bell wakes a thread from another one. The thread that sleeps is locked to its goroutine: to wake it
// by a channel the scheduler would have another thread look for the goroutine first, and hand it
// over, before or instead of the loop that wants the processor. A futex wakes the thread itself.
type bell struct {
	armed atomic.Uint32 // 1: who waits sleeps until it is 0
}

// arm is called by who will wait, when there is nothing to do: a ring from then on ends the wait.
func (b *bell) arm() { b.armed.Store(1) }

// ring ends a wait, or the one that follows arm, and says whether there was one to end.
func (b *bell) ring() bool {
	if b.armed.Swap(0) == 0 {
		return false
	}
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&b.armed)), futexWake, 1, 0, 0, 0)
	return true
}

// wait sleeps until the bell rings; it may return sooner.
func (b *bell) wait() { sleepOn(&b.armed) }

// Operations of futex(2), within one process.
const (
	futexWait = 0 | 128
	futexWake = 1 | 128
)

// sleepOn sleeps while word is 1. It lends its processor (P) to others at once, as the runtime itself does
// where it sleeps. In an ordinary blocking call, after which this is as it was, the runtime's monitor
// comes to take the processor: it looks for it every 20 us, and for some milliseconds more, which costs
// as much as a handshake (ADR 26).
//
//go:nosplit
func sleepOn(word *atomic.Uint32) {
	address := uintptr(unsafe.Pointer(word))
	entersyscallblock()
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, address, futexWait, 1, 0, 0, 0)
	exitsyscall()
}

// The runtime keeps these two as they are for packages that link to them (see their comments there).
//
//go:linkname entersyscallblock runtime.entersyscallblock
func entersyscallblock()

//go:linkname exitsyscall runtime.exitsyscall
func exitsyscall()

// stepBack has the calling thread, which is locked to its goroutine, go behind those of the process's
// priority. When it wakes it interrupts none, and one that wakes interrupts it (SCHED_BATCH and
// nice of sched(7)). Where they use a processor up it gets a tenth of that: the kernel weighs niceness 10 as
// 110, 0 as 1,024. Linux lets whoever runs go on to the end of his slice, but for one that wakes and
// whose slice is shorter (PREEMPT_SHORT, 6.12): so it asks for slices, which are sched_runtime, that are
// twice as long as it has, and 3 ms at least (ADR 26). Kernels before that have 0 there, and take no notice.
func stepBack() error {
	attributes, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return os.NewSyscallError("sched_getattr", err)
	}
	const batch, nicer, nicest = 3, 10, 19
	slice := max(2*attributes.Runtime, uint64(3*time.Millisecond))
	err = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: batch, Nice: min(attributes.Nice+nicer, nicest), Runtime: slice,
	}, 0)
	return os.NewSyscallError("sched_setattr", err)
}
