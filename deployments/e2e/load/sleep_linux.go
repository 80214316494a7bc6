package load

import (
	"context"
	"runtime"
	"syscall"
	"time"
)

// longestSleep is how late the end of a context may be noticed.
const longestSleep = 10 * time.Millisecond

// sleeper sleeps on a thread of its own, to some microseconds: the runtime's
// timers wake by epoll_wait, which counts in milliseconds.
type sleeper struct{}

func newSleeper() sleeper {
	// Never unlocked: the thread, whose timer slack is changed, ends with the
	// goroutine.
	runtime.LockOSThread()
	const prSetTimerslack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerslack, 1, 0) // 50 µs late if it fails
	return sleeper{}
}

func (sleeper) sleep(ctx context.Context, until time.Time) {
	for {
		left := time.Until(until)
		if left <= 0 || ctx.Err() != nil {
			return
		}
		ts := syscall.NsecToTimespec(int64(min(left, longestSleep)))
		_ = syscall.Nanosleep(&ts, nil) // interrupted: sleeps again
	}
}
