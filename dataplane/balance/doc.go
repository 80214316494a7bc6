// Package balance chooses among weighted things: an endpoint of an upstream, an
// upstream of a route.
//
// Every picker is an immutable value, built once from weights and shared by any
// number of loops. What changes from pick to pick is the caller's and is passed
// in: the cursor of a RoundRobin, the randomness of LeastRequest and Split, the
// load of LeastRequest. So a picker is pure, and a new table may replace it
// between two picks: the cursor goes on from where it was.
//
// A weight of 0 gets nothing. Where all weights are 0 there is nothing to pick,
// and the pickers say so. No pick allocates.
package balance
