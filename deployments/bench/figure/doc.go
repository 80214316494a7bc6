// Package figure holds what was measured, and judges it: medians, spreads, and
// whether two figures differ at all.
//
// A figure is a Series with one value per round, in their order. Its spread is the whole
// range from the least to the greatest value, which is the most careful choice: with
// five rounds there is no distribution to speak of. Two figures are compared round by
// round, since a round measures both within a minute or so, and what a machine gives
// changes over many: their ratio is the median of the rounds' ratios. Two figures of
// which each is the greater one in some round are equal, whatever the median says, and
// their ratio counts as 1.
package figure
