//go:build race

package secure

// raceEnabled: the race detector makes sync.Pool forget at random.
const raceEnabled = true
