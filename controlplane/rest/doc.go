// Package rest is the control plane's REST interface, on gin. Package api of the
// proto module says what it promises; this package keeps the promise.
//
// # Model
//
// One table (operations) holds every route: gin's routes are registered from it
// and the OpenAPI document is written from it, together with the descriptors of
// the schema, so none of the three can say something else than the others.
//
// A change is a plan and a commit. The plan computes, from a base, the tree that
// is wanted and everything that is wrong with it: what decoding found, dangling
// references, and what the nodes' own compiler says (Checker). The commit is the
// store's compare-and-swap; when another change won, the plan is made again on
// what it left, a bounded number of times, unless If-Match forbids it.
//
// Events come from looking: the hub is told that something may have changed,
// compares with what it saw last and sends what differs to every stream.
//
// # Invariants
//
//   - A request that is answered with 400 or above changed nothing (504 excepted:
//     the store may have written what it could not say, and the detail says so).
//   - Every problem of a body is in one answer, each once.
//   - Bodies, open streams, waiting events, and the time of a request are bounded
//     by named constants.
//   - No request is believed to be who it says: there is no authentication yet.
//     What can be done without it is done by guard.
//
// The package owns the HTTP server between New and the end of Run. The store, the
// checker and the nodes are owned by whoever made them.
package rest
