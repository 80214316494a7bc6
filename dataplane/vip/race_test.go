//go:build race

package vip

// The simulations run in one goroutine: with the race detector they are slow and
// find no more.
const raceEnabled = true
