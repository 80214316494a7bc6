package figure

import (
	"math"
	"slices"
)

// Series are the values of one figure, one for each round.
type Series []float64

// Median is the middle value, or the mean of the two in the middle; NaN if there
// are none.
func (s Series) Median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Min is the least value; NaN if there are none.
func (s Series) Min() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return slices.Min(s)
}

// Max is the greatest value; NaN if there are none.
func (s Series) Max() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return slices.Max(s)
}

// Overlaps says that the spreads of two figures have a value in common.
func (s Series) Overlaps(o Series) bool {
	return s.Min() <= o.Max() && o.Min() <= s.Max()
}

// Ratio is one figure against another.
type Ratio struct {
	// Value is the ratio of the medians.
	Value float64
	// Low and High are the ratios that the spreads allow.
	Low, High float64
	// Equal: the spreads overlap, so the figures cannot be told apart.
	Equal bool
}

// Divide compares s with o.
func Divide(s, o Series) Ratio {
	return Ratio{
		Value: s.Median() / o.Median(),
		Low:   s.Min() / o.Max(),
		High:  s.Max() / o.Min(),
		Equal: s.Overlaps(o),
	}
}

// Judged is what a bound is held against: figures that cannot be told apart are
// the same.
func (r Ratio) Judged() float64 {
	if r.Equal {
		return 1
	}
	return r.Value
}

// Direction is on which side of its limit a figure must lie.
type Direction uint8

// The directions.
const (
	AtMost Direction = iota
	Below
	AtLeast
)

func (d Direction) String() string {
	switch d {
	case Below:
		return "<"
	case AtLeast:
		return "≥"
	default:
		return "≤"
	}
}

// Bound is where a figure fails.
type Bound struct {
	Direction Direction
	Limit     float64
	// Slack is the part of the limit that shared machines are allowed to be worse
	// by; twice of it counts when a bound is loosened.
	Slack float64
}

// Loosened is the bound with twice its slack.
func (b Bound) Loosened() Bound {
	by := 1 + 2*b.Slack
	if b.Direction == AtLeast {
		by = 1 - 2*b.Slack
	}
	b.Limit *= by
	return b
}

// Holds says that v is within the bound. NaN never is.
func (b Bound) Holds(v float64) bool {
	switch b.Direction {
	case Below:
		return v < b.Limit
	case AtLeast:
		return v >= b.Limit
	default:
		return v <= b.Limit
	}
}
