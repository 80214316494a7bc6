// Package loadgen is the other end of both sides of a proxy that is measured:
// backends, a client that sends on a schedule, one that holds idle connections,
// visitors, who make handshakes, download long bodies or open pages, and a relay
// that stands for a distance. Each runs as a process of its own, so that its cost is on the
// processor that it is given.
//
// The backend of short answers and the client are one thread with one epoll, and
// know nothing but the HTTP that they speak with each other through a proxy: GET
// without a body, and answers with a Content-Length. The backend speaks HTTP/2 in the same spirit,
// when it is told to; the client speaks TLS 1.3. They must cost less than any
// proxy, or saturating one would need more processors than two. Correctness is tested
// elsewhere, by the load generator of the command line tools, which checks every
// byte and costs several times as much.
//
// Open loop: when a request is due is decided by the schedule alone, never by
// the answers. Latency counts from that moment, so a proxy that stalls is
// charged for every request that it kept waiting (no coordinated omission). What
// the generator itself was late by stands beside it.
package loadgen
