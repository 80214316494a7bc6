//go:build race

package agent

// raceEnabled: the race detector makes everything several times slower.
const raceEnabled = true
