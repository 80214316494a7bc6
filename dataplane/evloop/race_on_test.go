//go:build race

package evloop

// raceEnabled: time says nothing under the race detector.
const raceEnabled = true
