// Package bell tells any number of listeners that something changed.
//
// A ring says "look again" and nothing else, so that rings which nobody took yet are one: a
// listener that is slow misses no news, and holds up nobody. A Bell is safe for concurrent
// use, and its zero value is ready. It may be rung under a lock of the caller's.
package bell
