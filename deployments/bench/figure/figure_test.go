package figure

import (
	"math"
	"testing"
)

func TestTheMedianIsTheMiddleWhateverTheOrder(t *testing.T) {
	for _, tt := range []struct {
		s                Series
		median, min, max float64
	}{
		{Series{3}, 3, 3, 3},
		{Series{9, 1, 5}, 5, 1, 9},
		{Series{4, 1, 3, 2}, 2.5, 1, 4},
		{Series{14.2, 12.4, 90, 12.5, 12.6}, 12.6, 12.4, 90},
	} {
		before := append(Series{}, tt.s...)
		if tt.s.Median() != tt.median || tt.s.Min() != tt.min || tt.s.Max() != tt.max {
			t.Errorf("%v: median %v, from %v to %v", tt.s, tt.s.Median(), tt.s.Min(), tt.s.Max())
		}
		for i := range before {
			if before[i] != tt.s[i] {
				t.Fatalf("the order of %v was changed", before)
			}
		}
	}
}

func TestNothingMeasuredIsNoFigure(t *testing.T) {
	var s Series
	if !math.IsNaN(s.Median()) || !math.IsNaN(s.Min()) || !math.IsNaN(s.Max()) {
		t.Errorf("%v from %v to %v", s.Median(), s.Min(), s.Max())
	}
	r := Divide(s, Series{1})
	if r.Equal || (Bound{AtMost, 1, 0}).Holds(r.Judged()) || (Bound{AtLeast, 0, 0}).Holds(r.Judged()) || (Bound{Below, 1, 0}).Holds(r.Judged()) {
		t.Errorf("%+v holds a bound", r)
	}
}

func TestFiguresAreEqualUnlessAllRoundsAgree(t *testing.T) {
	for _, tt := range []struct {
		name  string
		a, b  Series
		equal bool
		value float64
	}{
		{"less in each round", Series{9, 10, 11}, Series{18, 20, 22}, false, 0.5},
		{"more in each round", Series{18, 20, 22}, Series{9, 10, 11}, false, 2},
		{"less in each of rounds that differ", Series{9, 18, 27}, Series{10, 20, 30}, false, 0.9},
		{"less in most rounds", Series{9, 9, 9, 9, 15}, Series{10, 10, 10, 10, 10}, true, 0.9},
		{"the same in one round", Series{9, 9, 10}, Series{10, 10, 10}, true, 0.9},
		{"single values", Series{5}, Series{10}, false, 0.5},
		{"the same single value", Series{5}, Series{5}, true, 1},
		{"no common rounds, apart", Series{5}, Series{10, 20, 40}, false, 0.25},
		{"no common rounds, one inside the other", Series{15}, Series{10, 20, 40}, true, 0.75},
	} {
		r := Divide(tt.a, tt.b)
		if r.Equal != tt.equal || math.Abs(r.Value-tt.value) > 1e-9 {
			t.Errorf("%s: %+v, want equal %v and %v", tt.name, r, tt.equal, tt.value)
		}
		if want := map[bool]float64{true: 1, false: tt.value}[tt.equal]; math.Abs(r.Judged()-want) > 1e-9 {
			t.Errorf("%s: judged as %v, want %v", tt.name, r.Judged(), want)
		}
		if r.Low > r.Value || r.High < r.Value {
			t.Errorf("%s: %v is not from %v to %v", tt.name, r.Value, r.Low, r.High)
		}
	}
}

func TestABoundIsLoosenedByTwiceItsSlack(t *testing.T) {
	for _, tt := range []struct {
		bound       Bound
		v           float64
		tight, wide bool
	}{
		{Bound{AtMost, 0.90, 0.05}, 0.90, true, true},
		{Bound{AtMost, 0.90, 0.05}, 0.91, false, true},
		{Bound{AtMost, 0.90, 0.05}, 0.98, false, true},
		{Bound{AtMost, 0.90, 0.05}, 1.00, false, false},
		{Bound{Below, 528, 0.1}, 528, false, true},
		{Bound{Below, 528, 0.1}, 527.9, true, true},
		{Bound{AtLeast, 6, 0.1}, 6, true, true},
		{Bound{AtLeast, 6, 0.1}, 5, false, true},
		{Bound{AtLeast, 6, 0.1}, 4.7, false, false},
	} {
		if tt.bound.Holds(tt.v) != tt.tight || tt.bound.Loosened().Holds(tt.v) != tt.wide {
			t.Errorf("%v %s %v: %v, loosened %v", tt.v, tt.bound.Direction, tt.bound.Limit,
				tt.bound.Holds(tt.v), tt.bound.Loosened().Holds(tt.v))
		}
	}
}
