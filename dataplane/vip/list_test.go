package vip

import (
	"fmt"
	"math/bits"
	"testing"
)

// set is a set of members: bit i is member i.
type set = uint

func size(s set) int { return bits.OnesCount(s) }

// listOf makes a list of a set.
func listOf(s set) List {
	var ids []string
	for i := range bits.UintSize {
		if s>>i&1 != 0 {
			ids = append(ids, fmt.Sprintf("%02d", i))
		}
	}
	return NewList(1, ids...)
}

// majorities yields the majorities of a list.
func majorities(s set, yield func(set)) {
	list := listOf(s)
	for votes := s; votes != 0; votes = (votes - 1) & s {
		if list.Majority(size(votes)) {
			yield(votes)
		}
	}
}

// neighbours are the lists that differ from s by at most one of n members.
func neighbours(s set, n int) []set {
	lists := []set{s}
	for i := range n {
		lists = append(lists, s^1<<i)
	}
	return lists
}

func TestHalfOfAListIsNoMajorityAndMoreThanHalfIs(t *testing.T) {
	for n := range 9 {
		list := listOf(1<<n - 1)
		for votes := range n + 1 {
			if got, want := list.Majority(votes), 2*votes > n; got != want {
				t.Errorf("%d of %d: %v", votes, n, got)
			}
		}
		if n > 0 && (!list.Majority(list.Needed()) || list.Majority(list.Needed()-1)) {
			t.Errorf("of %d, %d are needed", n, list.Needed())
		}
	}
}

// Exhaustive: every list of up to seven members, every list that one step makes of
// it, every two majorities.
func TestMajoritiesOfListsThatDifferByOneMemberShareAMember(t *testing.T) {
	for n := 1; n <= 7; n++ {
		before := set(1)<<n - 1
		for _, after := range neighbours(before, n+1) {
			majorities(before, func(a set) {
				majorities(after, func(b set) {
					if a&b == 0 {
						t.Fatalf("%b of %b and %b of %b", a, before, b, after)
					}
				})
			})
		}
	}
}

// What docs/adr/0007 decides against: with "of two halves the one with the lowest
// id" the same steps are not safe.
func TestWithATieRuleOneMemberStepsWouldNotBeSafe(t *testing.T) {
	tie := func(list, votes set) bool {
		lowest := list & -list
		return 2*size(votes) > size(list) || 2*size(votes) == size(list) && votes&lowest != 0
	}
	// b alone, and a of a and b.
	const a, b = set(1), set(2)
	if !tie(b, b) || !tie(a|b, a) {
		t.Error("the example does not hold")
	}
}

// goBy is the members that go by each of the lists of a chain, which go forward
// only: a member is in one of them.
type goBy [3]set

// inForce says whether a majority of the list could grant by it.
func inForce(list, goBy set) bool { return listOf(list).Majority(size(list & goBy)) }

// Left is what a control plane waits for before the next step: that those of the
// list before which have not reported the present one are no majority of it.
func left(before, reported set) bool { return inForce(before, before&^reported) }

// Exhaustive: every chain of three lists among five ids, each one step from the one
// before, and every way in which the members may go by them once the third exists.
// The first is not in force then, so that only lists that differ by one step are.
func TestListsTwoStepsApartAreNeverBothInForce(t *testing.T) {
	const n = 5
	chains := 0
	for first := set(1); first < 1<<n; first++ {
		for _, second := range neighbours(first, n)[1:] {
			for _, third := range neighbours(second, n)[1:] {
				chains++
				everyGoBy(n, func(g goBy) {
					// The third was made when enough of the first had gone on, and who has
					// gone on does not come back.
					if left(first, g[1]|g[2]) {
						return
					}
					if inForce(first, g[0]) {
						t.Fatalf("chain %b %b %b: the first is in force with %b", first, second, third, g)
					}
				})
			}
		}
	}
	t.Logf("%d chains", chains)
}

// Without waiting they are: that is what the reports are for.
func TestWithoutReportsListsTwoStepsApartCouldBothBeInForce(t *testing.T) {
	first, third := set(0b00111), set(0b11111)
	if a, b := set(0b00011), set(0b11100); !inForce(first, a) || !inForce(third, b) || a&b != 0 {
		t.Error("the example does not hold")
	}
}

// everyGoBy yields each way in which n members may go by three lists.
func everyGoBy(n int, yield func(goBy)) {
	ways := 1
	for range n {
		ways *= 3
	}
	for way := range ways {
		var g goBy
		for i, w := 0, way; i < n; i, w = i+1, w/3 {
			g[w%3] |= 1 << i
		}
		yield(g)
	}
}

// A list that was found at a node is gone on from when a majority of its own
// members report it. What the lost store may have made of it, without its being
// heard of, is out of force then: those who go by that are too few.
func TestAFoundListIsGoneOnFromOnlyWhenNothingMadeOfItIsInForce(t *testing.T) {
	for n := 1; n <= 7; n++ {
		found := set(1)<<n - 1
		for _, made := range neighbours(found, n+1)[1:] {
			majorities(found, func(reported set) {
				if inForce(made, made&^reported) {
					t.Fatalf("%b reported %b, and %b is in force", reported, found, made)
				}
			})
		}
	}
}
