// Package compile makes a table.Table of the resources of a configuration tree,
// or says everything that is wrong with them. It is pure: the control plane
// checks candidates with the very function that nodes run.
//
// # Incremental
//
// A Result is immutable and keeps, beside its table, what the next Compile needs:
// the tree it was made from, the routes by name, and who refers to whom. Given
// the previous result, Compile reads only the leaves in which the trees differ,
// and everything else is shared: listeners, upstreams, routes and their index.
// The outcome is the same as without a previous result; only pointers tell them
// apart. A Result stays valid whatever is compiled from it, so many candidates
// may be tried from one.
//
// What depends on a changed resource is made anew too: a route whose upstream
// changed gets a new object with the new upstream in it.
//
// # Attestation
//
// Table.Root is the digest of the resources that the table was really built
// from: the bytes of each leaf that is read are hashed again and held against
// the leaf's hash, every leaf must have become a listener, an upstream, a route,
// a virtual IP or a certificate, and what is not read again is what an attested
// result was built from.
//
// # Time
//
// Compile takes the caller's permit while it computes, and lets go of it after
// about half a millisecond of work, so that nobody who waits for it waits long.
package compile
