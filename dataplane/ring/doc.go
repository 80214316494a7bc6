// Package ring makes many sends or receives by one system call.
//
// Entering the kernel may cost more than what is done there: to send some hundred bytes takes
// 0.2 µs or less, and to get there and back 0.1 µs on one machine and 1 µs on another (page
// tables that are switched against Meltdown, other mitigations, the hypervisor's part).
//
// A Ring is an io_uring that is used for nothing else than this. Operations are gathered by
// Send and Receive, and Enter makes them, one after the other on the calling thread. Each does
// what send(2) or recv(2) with MSG_DONTWAIT would have done at that moment, and is over when
// Enter returns. Nothing is left under way: no descriptor, no memory and no order of bytes is
// the kernel's concern afterwards, and readiness stays what the poller says.
//
// A Ring belongs to the thread that made it. The slices that it was given must stay as they
// are until Enter has returned.
//
// A system may refuse io_uring: kernel.io_uring_disabled, a container's seccomp rules, or a
// kernel before 6.1, which lacks what is asked of it. It may also grant a ring and refuse what
// is asked of that. New then says so, and its caller makes one call for each operation.
package ring
