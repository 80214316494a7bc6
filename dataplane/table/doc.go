// Package table is the compiled configuration of a node: one immutable Table
// behind one atomic pointer (Live), and the matcher that finds the route of a
// request in it.
//
// # Ownership
//
// Everything reachable from a Table is immutable once the table is published,
// and may be read by any number of loops. A loop loads the pointer when an exchange
// begins, and all that it steps from then on see that table. An exchange keeps two objects
// of the table with which it began, its listener and its route, until the head of its
// answer is sent. Routes,
// upstreams and endpoints are shared between tables: an object whose resource
// (and what that refers to) did not change is the same pointer in the next
// table. The Slot fields are the one exception: their owner, upstream.Registry,
// writes them once, before the first table that holds the object is published.
//
// Package compile builds tables; the engine only reads them. Every default is
// applied and every duration is set, so a reader never sees "unset".
//
// # Precedence
//
// Which route a request gets never depends on insertion order: listener, then
// exact host before the longest wildcard host before no host, then priority,
// then exact path before the longest prefix before the longest regex before no
// path at all, then routes with methods, then the number of header matches, then
// of query matches, then the name. Where no route of the best host class
// matches, the next class is tried. Compare is that order; see route.go.
//
// # Paths
//
// All paths and hosts are in the normal form of package message. A prefix
// matches at segment borders: "/foo" matches "/foo" and "/foo/bar", not
// "/foobar". A prefix that ends in "/" matches only what lies below: "/foo/"
// matches "/foo/" and "/foo/bar", not "/foo". The prefix "/" matches everything,
// the empty path of "OPTIONS *" too.
package table
