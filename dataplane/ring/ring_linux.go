package ring

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Result is what became of one operation.
type Result struct {
	Tag   int        // as it was given
	N     int        // bytes sent or received; of a receive 0 is the end of the stream
	Errno unix.Errno // 0: it succeeded; EAGAIN: the socket was full, or empty
}

// Ring gathers operations and makes them by one call.
type Ring struct {
	fd int

	// What is shared with the kernel, and the parts of it that are used.
	rings, entries []byte
	submissions    []submission
	completions    []completion
	submitHead     *uint32 // how far the kernel has taken submissions
	submitTail     *uint32 // how far there are any
	completeHead   *uint32 // how far completions were read
	completeTail   *uint32 // how far there are any

	tail    uint32   // where the next submission goes, without those gathered
	results []Result // of the operations gathered, as if the kernel had lost them
	// given is where their bytes are. The kernel has that as numbers, of which the compiler
	// knows nothing: it would keep short slices on the stack, which moves.
	given []*byte
}

// New makes a ring for at most most operations at a time. The thread that calls is the one
// that must use it.
func New(most int) (*Ring, error) {
	r, err := setUp(most, 0)
	if err != nil {
		return nil, err
	}
	if err := r.try(); err != nil {
		r.Close()
		return nil, fmt.Errorf("io_uring: %w", err)
	}
	return r, nil
}

func setUp(most int, flags uint32) (*Ring, error) {
	p := params{flags: setupSubmitAll | setupSingleIssuer | setupDeferTaskrun | flags}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(most), uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	r := &Ring{fd: int(fd), results: make([]Result, 0, most), given: make([]*byte, 0, most)}
	if err := r.share(&p); err != nil {
		r.Close()
		return nil, fmt.Errorf("io_uring: %w", err)
	}
	return r, nil
}

// share maps what the kernel made.
func (r *Ring) share(p *params) error {
	if p.features&featureSingleMmap == 0 {
		return errors.ErrUnsupported
	}
	const prot, flags = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
	submitEnd := int(p.submit.array + p.submitEntries*uint32(unsafe.Sizeof(uint32(0))))
	completeEnd := int(p.complete.entries + p.completeEntries*uint32(unsafe.Sizeof(completion{})))
	var err error
	if r.rings, err = unix.Mmap(r.fd, offsetRings, max(submitEnd, completeEnd), prot, flags); err != nil {
		return err
	}
	if r.entries, err = unix.Mmap(r.fd, offsetEntries, int(p.submitEntries*uint32(unsafe.Sizeof(submission{}))), prot, flags); err != nil {
		return err
	}
	at := func(offset uint32) unsafe.Pointer { return unsafe.Pointer(&r.rings[offset]) }
	r.submissions = unsafe.Slice((*submission)(unsafe.Pointer(&r.entries[0])), p.submitEntries)
	r.completions = unsafe.Slice((*completion)(at(p.complete.entries)), p.completeEntries)
	r.submitHead, r.submitTail = (*uint32)(at(p.submit.head)), (*uint32)(at(p.submit.tail))
	r.completeHead, r.completeTail = (*uint32)(at(p.complete.head)), (*uint32)(at(p.complete.tail))
	// The kernel takes submissions by way of a table of their numbers: they are in order.
	numbers := unsafe.Slice((*uint32)(at(p.submit.array)), p.submitEntries)
	for i := range numbers {
		numbers[i] = uint32(i)
	}
	return nil
}

// try makes an operation of each kind. A system may grant a ring and refuse what is asked of
// it, which would else look as if each connection had failed.
func (r *Ring) try() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	var p [1]byte
	r.Send(fds[0], p[:], 0)
	if err := r.tried("send"); err != nil {
		return err
	}
	r.Receive(fds[1], p[:], 0)
	return r.tried("receive")
}

func (r *Ring) tried(what string) error {
	done, err := r.Enter()
	if err != nil {
		return err
	}
	if d := done[0]; d.Errno != 0 || d.N != 1 {
		return fmt.Errorf("%s: %w", what, d.Errno)
	}
	return nil
}

// Close gives the ring back.
func (r *Ring) Close() {
	for _, m := range [][]byte{r.entries, r.rings} {
		if m != nil {
			_ = unix.Munmap(m)
		}
	}
	unix.Close(r.fd)
}

// Full says that no more can be gathered before Enter.
func (r *Ring) Full() bool { return len(r.results) == cap(r.results) }

// Send gathers a send of p, which is not empty. The ring must not be full.
func (r *Ring) Send(fd int, p []byte, tag int) {
	r.gather(submission{op: opSend, fd: int32(fd), flags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL}, p, tag)
}

// Receive gathers a receive into p, which is not empty. The ring must not be full.
func (r *Ring) Receive(fd int, p []byte, tag int) {
	r.gather(submission{op: opReceive, fd: int32(fd), flags: unix.MSG_DONTWAIT}, p, tag)
}

func (r *Ring) gather(s submission, p []byte, tag int) {
	i := len(r.results)
	// A number and no pointer: the collector must not look at memory that the kernel shares.
	s.bytes, s.size, s.number = uint64(uintptr(unsafe.Pointer(&p[0]))), uint32(len(p)), uint64(i)
	r.given = append(r.given, &p[0])
	r.submissions[(r.tail+uint32(i))&uint32(len(r.submissions)-1)] = s
	r.results = append(r.results, Result{Tag: tag, Errno: unix.EIO})
}

// Enter makes what was gathered, in that order. With an error the results are those of the
// operations that were made; the others were not, and the ring should not be used any more.
// Results are valid until the next operation is gathered.
func (r *Ring) Enter() ([]Result, error) {
	done := r.results
	r.results, r.given = r.results[:0], r.given[:0]
	if len(done) == 0 {
		return nil, nil
	}
	atomic.StoreUint32(r.submitTail, r.tail+uint32(len(done)))
	var err error
	for left := len(done); left > 0; {
		n, errno := r.enter(left, 0)
		if left -= n; errno != 0 || n == 0 {
			err = fmt.Errorf("io_uring_enter took %d of %d: %w", len(done)-left, len(done), errno)
			break
		}
	}
	taken := atomic.LoadUint32(r.submitHead) - r.tail
	r.tail += taken
	atomic.StoreUint32(r.submitTail, r.tail)
	done = done[:taken]
	if waitErr := r.complete(done); err == nil {
		err = waitErr
	}
	return done, err
}

// complete fills in the results of all operations that the kernel took.
func (r *Ring) complete(done []Result) error {
	head := *r.completeHead
	for left := len(done); left > 0; {
		tail := atomic.LoadUint32(r.completeTail)
		if head == tail { // never seen: with MSG_DONTWAIT they are over at once
			if _, errno := r.enter(0, left); errno != 0 {
				return fmt.Errorf("io_uring_enter waits for %d: %w", left, errno)
			}
			continue
		}
		for ; head != tail; head++ {
			c := &r.completions[head&uint32(len(r.completions)-1)]
			to := &done[c.number]
			if to.Errno = 0; c.result < 0 {
				to.Errno = unix.Errno(-c.result)
			} else {
				to.N = int(c.result)
			}
			left--
		}
		atomic.StoreUint32(r.completeHead, head)
	}
	return nil
}

// enter submits, and waits for completions. Like other calls that do not block it goes past
// Go's scheduler.
func (r *Ring) enter(submit, wait int) (int, unix.Errno) {
	flags := 0
	if wait > 0 {
		flags = enterGetEvents
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(submit), uintptr(wait), uintptr(flags), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}
