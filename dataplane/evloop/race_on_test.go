//go:build race

package evloop

// raceEnabled: memory and time say nothing under the race detector, which also
// makes sync.Pool (and so package regexp) forget at random.
const raceEnabled = true
