// Package figure holds what was measured, and judges it: medians, spreads, and
// whether two figures differ at all.
//
// A figure is a Series with one value per round. Its spread is the whole range
// from the least to the greatest value, which is the most careful choice: with
// five rounds there is no distribution to speak of. Two figures whose spreads
// overlap are equal, whatever their medians say, and their ratio counts as 1.
package figure
