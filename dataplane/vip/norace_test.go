//go:build !race

package vip

const raceEnabled = false
