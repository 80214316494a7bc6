// Package member describes who is in the fleet, as one node sees it.
//
// A [View] is an immutable list of members, sorted by id, each id once. Whoever
// learns something makes another View; two Views of one node are compared with
// [Diff]. Nothing here says how a View came about (package gossip does) and
// nothing says what follows from it (package vip does).
//
// A View is an opinion: the Views of two nodes may differ at any moment, and for
// as long as a network is partly broken. What must be true of the fleet as a
// whole may not follow from a View alone.
//
// What must be is said by a control plane: a [List] is who is expected, a [Decision]
// what people want of one node. Nodes keep both (package lastgood), and tell the control
// plane by which they go (package feed).
package member
