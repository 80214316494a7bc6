// Package e2e tests the fleet as its users meet it: the built binaries, real
// sockets, a real etcd, and clients that are not ours. `make test` builds the
// binaries first; the tests end every process that they start, by its id, and
// leave nothing outside their temporary directories.
//
// Each fleet has a network of its own within 127.0.0.0/8, so tests neither meet
// each other nor what else runs on the machine. Those that hold processes to no time, and
// wait most of theirs, run beside each other when the others are over.
package e2e
