// Package load is an open-loop load generator for HTTP/1.1, and a backend that
// lets it check every answer.
//
// Open loop: when a request is due is decided by the schedule alone, never by
// the answers. Latency counts from that moment, so a server that stalls is
// charged for every request that it kept waiting, not for one (no coordinated
// omission). What the generator itself was late by is told beside it.
//
// A Backend answers with everything that is needed to know that an answer is
// the right one, whole, and for this request: it repeats the request's id, tells
// how much body it received with which checksum, and gives the checksum of what
// it sends. It also numbers its connections, so that both ends of a proxy can be
// counted. Other servers can be checked by status and body.
//
// One goroutine paces, on a thread of its own, since timers of the runtime are
// up to a millisecond late; a fixed set of workers, each with one kept
// connection per target, sends. All are bounded: by the count and time of
// Options, by Timeout, and by a queue of what is due and waits for a worker.
package load
