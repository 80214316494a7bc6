// Package upstream keeps what must outlive a routing table: for every endpoint
// the node-wide counts of requests and connections, and for every loop its pool
// of connections to that endpoint.
//
// An endpoint's identity is the upstream's name and the address. Registry gives
// each living identity a slot, a small number that compiled tables carry, so
// that a request finds counts and pools by index. A push that does not touch an
// upstream changes nothing here.
//
// The retries of an upstream have a budget, which is the node's too: see
// Picker.TryRetry.
//
// Slots end in two steps. Bind, which runs before a table goes live, tells which
// identities the new table no longer has. The engine tells every loop, each
// closes what is idle and lets busy connections end, and says Released; after
// the last loop the slot may be given to another identity. An exchange therefore
// uses a slot only in the turn in which it loaded the table: a retry in a later
// turn looks its upstream up again.
//
// Registry is safe for concurrent use, counts are atomics, and a Pool belongs to
// its loop. A Pool is pure bookkeeping: it holds the numbers by which the driver
// knows its connections and streams, and opens and closes nothing.
package upstream
