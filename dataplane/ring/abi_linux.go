package ring

// What is used of the kernel's interface: see io_uring_setup(2), io_uring_enter(2) and
// linux/io_uring.h.
const (
	setupSubmitAll    = 1 << 7  // one that is refused keeps none back that are behind it
	setupSingleIssuer = 1 << 12 // Linux 6.0
	setupDeferTaskrun = 1 << 13 // nothing is done for the ring outside of Enter; Linux 6.1
	featureSingleMmap = 1 << 0  // both rings come by one mmap
	enterGetEvents    = 1 << 0

	offsetRings   = 0
	offsetEntries = 0x10000000

	opSend    = 26
	opReceive = 27
)

// params is struct io_uring_params.
type params struct {
	submitEntries, completeEntries uint32
	flags, cpu, idle, features, wq uint32
	_                              [3]uint32
	submit                         struct {
		head, tail, mask, count, flags, dropped, array, _ uint32
		_                                                 uint64
	}
	complete struct {
		head, tail, mask, count, overflow, entries, flags, _ uint32
		_                                                    uint64
	}
}

// submission is struct io_uring_sqe of a send or a receive.
type submission struct {
	op     uint8
	_      [3]uint8
	fd     int32
	_      uint64
	bytes  uint64
	size   uint32
	flags  uint32 // MSG_…
	number uint64 // comes back in its completion
	_      [3]uint64
}

// completion is struct io_uring_cqe.
type completion struct {
	number uint64
	result int32 // bytes, or -errno
	_      uint32
}
