// Package control is the socket by which users of a node's machine ask the running process
// for something. There is one thing to ask for: an upgrade.
//
// # Model
//
// A client connects, says one Request, and hears Answers until one has Error or Done; each
// is a line of JSON. Upgrade is a client. Who may ask is said by the modes of the socket
// and of its directory.
//
// While a node is upgraded two processes have a socket each. Open gives it a name that
// nobody knows; Claim puts it in the place of the other one, when this process is the one
// that serves.
//
// # Invariants
//
//   - A node works without its socket: what is in the way is told, and no more. One that
//     was deleted, as with the state directory, is made again within seconds.
//   - Requests, answers, clients at a time and their time are bounded.
//   - A process removes its own socket only, never that of the process after it.
package control
