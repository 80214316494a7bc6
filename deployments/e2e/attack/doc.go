// Package attack does what clients must not do, from raw bytes, in a bounded
// measure: floods of frames that cost their sender nothing, clients that are slow
// on purpose, and heads that are larger when they are read than when they are sent.
//
// An Attack says what one connection sends; Run sends it on as many connections,
// one after another and at a time, as it takes until so many frames are sent, and
// tells how the target ended them. Nothing here is known of the target but its
// address: what it counted and used is for the caller to look at.
//
// http2.go, http1.go and tls.go have the attacks, each with what has to become of
// it.
package attack
