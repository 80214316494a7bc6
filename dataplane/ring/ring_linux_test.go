package ring

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func open(tb testing.TB, most int) *Ring {
	tb.Helper()
	runtime.LockOSThread()
	tb.Cleanup(runtime.UnlockOSThread)
	r, err := New(most)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
		tb.Skipf("this system refuses io_uring: %v", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	return r
}

// pairs are connected sockets that do not block.
func pairs(tb testing.TB, n int) (near, far []int) {
	tb.Helper()
	for range n {
		p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			tb.Fatal(err)
		}
		near, far = append(near, p[0]), append(far, p[1])
	}
	tb.Cleanup(func() {
		for _, fd := range slices.Concat(near, far) {
			unix.Close(fd)
		}
	})
	return near, far
}

func enter(tb testing.TB, r *Ring) []Result {
	tb.Helper()
	done, err := r.Enter()
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

func TestTheKernelsStructuresHaveTheirSizes(t *testing.T) {
	for _, s := range []struct {
		name       string
		size, want uintptr
	}{
		{"io_uring_params", unsafe.Sizeof(params{}), 120},
		{"io_uring_sqe", unsafe.Sizeof(submission{}), 64},
		{"io_uring_cqe", unsafe.Sizeof(completion{}), 16},
	} {
		if s.size != s.want {
			t.Errorf("%s: %d bytes, want %d", s.name, s.size, s.want)
		}
	}
}

// TestAllOperationsAreOverWhenEnterReturns, in order, more often than the rings have places.
func TestAllOperationsAreOverWhenEnterReturns(t *testing.T) {
	const most = 8
	r := open(t, most)
	near, far := pairs(t, most)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 100 {
		n := 1 + random.IntN(most)
		for i := range n {
			if r.Full() {
				t.Fatal("full")
			}
			r.Send(near[i], bytes.Repeat([]byte{byte(round)}, 1+i), 100+i)
		}
		if r.Full() != (n == most) {
			t.Error("full", r.Full(), "with", n)
		}
		done := enter(t, r)
		if len(done) != n {
			t.Fatalf("%d results of %d", len(done), n)
		}
		for i, d := range done {
			if d != (Result{Tag: 100 + i, N: 1 + i}) {
				t.Errorf("send %d: %+v", i, d)
			}
		}
		got := make([][most + 1]byte, n)
		for i := range n {
			r.Receive(far[i], got[i][:], i)
		}
		for i, d := range enter(t, r) {
			if want := bytes.Repeat([]byte{byte(round)}, 1+i); d.Tag != i || d.Errno != 0 || !bytes.Equal(got[i][:d.N], want) {
				t.Errorf("receive %d: %+v, %v", i, d, got[i][:d.N])
			}
		}
	}
	if done, err := r.Enter(); len(done) > 0 || err != nil {
		t.Error("of nothing:", done, err)
	}
}

// TestAnOperationEndsAsItsCallWould at sockets in every state, and keeps back none behind it.
func TestAnOperationEndsAsItsCallWould(t *testing.T) {
	r := open(t, 16)
	near, far := pairs(t, 6)
	const empty, full, ended, broken, part, fine = 0, 1, 2, 3, 4, 5
	p := make([]byte, 1<<20)
	for _, fd := range []int{near[full], near[part]} {
		for {
			if _, err := unix.Write(fd, p[:1<<10]); err != nil {
				break
			}
		}
	}
	for range 40 { // a socket that takes some bytes, not all
		if _, err := unix.Read(far[part], p[:1<<10]); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Shutdown(far[ended], unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(far[broken], unix.SHUT_RDWR); err != nil {
		t.Fatal(err)
	}

	r.Receive(near[empty], p, 0)
	r.Send(near[full], p, 1)
	r.Receive(near[ended], p, 2)
	r.Send(near[broken], p, 3)
	r.Send(1<<20, p, 4)
	r.Send(near[part], p, 5)
	r.Send(near[fine], p[:10], 6)
	done := enter(t, r)
	if n := done[5].N; n < 1 || n >= len(p) {
		t.Errorf("a part: %d bytes of %d", n, len(p))
	}
	done[5].N = 0
	want := []Result{
		{0, 0, unix.EAGAIN}, {1, 0, unix.EAGAIN}, {2, 0, 0}, {3, 0, unix.EPIPE}, {4, 0, unix.EBADF}, {5, 0, 0}, {6, 10, 0},
	}
	if !slices.Equal(done, want) {
		t.Errorf("got  %v\nwant %v", done, want)
	}
}

func TestARingThatTheSystemRefusesIsAnError(t *testing.T) {
	if r, err := New(0); err == nil {
		r.Close()
		t.Error("a ring without places")
	}
}

// TestARingIsOnlyHadWhereItSendsAndReceives: a system may grant one and refuse that.
func TestARingIsOnlyHadWhereItSendsAndReceives(t *testing.T) {
	open(t, 1) // or there is none
	const (
		setupDisabled        = 1 << 6
		registerRestrictions = 11
		registerEnable       = 12
		restrictToOperation  = 1
	)
	for _, c := range []struct {
		allowed uint8
		refused string
	}{{opReceive, "send"}, {opSend, "receive"}} {
		r, err := setUp(1, setupDisabled)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		only := struct {
			kind uint16
			op   uint8
			_    [13]uint8
		}{kind: restrictToOperation, op: c.allowed}
		if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerRestrictions, uintptr(unsafe.Pointer(&only)), 1, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		if _, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerEnable, 0, 0, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		if err := r.try(); !errors.Is(err, unix.EACCES) || !strings.HasPrefix(err.Error(), c.refused) {
			t.Errorf("only %d is allowed: %v", c.allowed, err)
		}
	}
}

// TestWhatWasNotTakenIsNotMade: another thread may not enter.
func TestWhatWasNotTakenIsNotMade(t *testing.T) {
	r := open(t, 4)
	near, far := pairs(t, 1)
	r.Send(near[0], []byte("x"), 0)
	type outcome struct {
		done []Result
		err  error
	}
	of := make(chan outcome)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done, err := r.Enter()
		of <- outcome{done, err}
	}()
	if o := <-of; !errors.Is(o.err, unix.EEXIST) || len(o.done) > 0 {
		t.Errorf("%v, %v", o.done, o.err)
	}
	if n, err := unix.Read(far[0], make([]byte, 1)); n > 0 || !errors.Is(err, unix.EAGAIN) {
		t.Error("it was sent", n, err)
	}
}

func TestARingDoesNotAllocate(t *testing.T) {
	r := open(t, 8)
	near, far := pairs(t, 8)
	p := make([]byte, 100)
	if n := testing.AllocsPerRun(100, func() {
		for i := range near {
			r.Send(near[i], p, i)
		}
		enter(t, r)
		for i := range far {
			r.Receive(far[i], p, i)
		}
		enter(t, r)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkSend has what a send costs, by a ring and by calls of its own.
func BenchmarkSend(b *testing.B) {
	p, q := make([]byte, 200), make([]byte, 64<<10)
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		for _, how := range []string{"ring", "calls"} {
			b.Run(fmt.Sprintf("%s-%d", how, n), func(b *testing.B) {
				r := open(b, n)
				near, far := pairs(b, n)
				for i := 0; b.Loop(); i++ {
					for j, fd := range near {
						if how == "ring" {
							r.Send(fd, p, j)
							continue
						}
						if err := unix.Send(fd, p, unix.MSG_NOSIGNAL); err != nil {
							b.Fatal(err)
						}
					}
					for _, d := range enter(b, r) {
						if d.N != len(p) {
							b.Fatal(d)
						}
					}
					if i%128 < 127 {
						continue
					}
					b.StopTimer()
					for _, fd := range far {
						for {
							if _, err := unix.Read(fd, q); err != nil {
								break
							}
						}
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/send")
			})
		}
	}
}

// TestASliceOnAMovedStackIsReadInto: the kernel has its address as a number, which nothing
// puts right when a stack grows.
func TestASliceOnAMovedStackIsReadInto(t *testing.T) {
	near, far := pairs(t, 1)
	if _, err := unix.Write(far[0], []byte("xyz")); err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() { // a new stack is small
		defer close(got)
		runtime.LockOSThread()
		r, err := New(1)
		if err != nil {
			return
		}
		defer r.Close()
		var p [3]byte
		r.Receive(near[0], p[:], 0)
		_ = deep(1000)
		if done, err := r.Enter(); err != nil || len(done) != 1 || done[0].N != len(p) {
			t.Error(done, err)
		}
		got <- fmt.Sprintf("%s", p)
	}()
	if s, ok := <-got; !ok {
		t.Skip("this system refuses io_uring")
	} else if s != "xyz" {
		t.Errorf("read %q", s)
	}
}

// deep needs much of a stack.
//
//go:noinline
func deep(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + deep(n-1)
}
