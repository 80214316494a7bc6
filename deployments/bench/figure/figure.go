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

// Mean is the mean value; NaN if there are none.
func (s Series) Mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(len(s))
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

// Ratio is one figure against another.
type Ratio struct {
	// Value is the median of the rounds' ratios.
	Value float64
	// Low and High are the least and the greatest of them.
	Low, High float64
	// Equal: the rounds do not agree on which is greater.
	Equal bool
}

// Divide compares s with o round by round. Series of different lengths have no common
// rounds: each value of one is then held against each of the other.
func Divide(s, o Series) Ratio {
	var rounds Series
	for i, v := range s {
		if len(s) == len(o) {
			rounds = append(rounds, v/o[i])
			continue
		}
		for _, w := range o {
			rounds = append(rounds, v/w)
		}
	}
	r := Ratio{Value: rounds.Median(), Low: rounds.Min(), High: rounds.Max()}
	r.Equal = r.Low <= 1 && r.High >= 1
	return r
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
