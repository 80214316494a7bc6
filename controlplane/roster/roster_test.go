package roster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// members are one letter each.
func members(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "")
}

// record is a list that was made from another: "abc" from "ab", revision 7.
func record(list, before string) *fleetv1.ListRecord {
	return &fleetv1.ListRecord{Lineage: 1, Revision: 7, Members: members(list), Before: members(before)}
}

// all reports revision 7 for each.
func all(ids string) map[string]uint64 {
	reports := map[string]uint64{}
	for _, id := range members(ids) {
		reports[id] = 7
	}
	return reports
}

func TestAStepIsOneMemberAndWaitsForTheListBefore(t *testing.T) {
	cases := []struct {
		name                         string
		list, before, wanted, report string
		want                         string // the next list; empty: none
	}{
		{"nothing to change", "abc", "ab", "abc", "abc", ""},
		{"a member more", "abc", "ab", "abcd", "ab", "abcd"},
		{"one at a time", "abc", "ab", "abcdef", "abc", "abcd"},
		{"adding comes before removing", "abc", "ab", "abd", "ab", "abcd"},
		{"a member less", "abc", "ab", "ab", "ab", "ab"},
		{"half of an even list before is enough: the other half is no majority", "abc", "ab", "abcd", "a", "abcd"},
		{"of an odd one a majority has to report", "abcd", "abc", "abcde", "a", ""},
		{"and that is enough", "abcd", "abc", "abcde", "bc", "abcde"},
		{"those who are not of the list before do not count", "abcd", "abc", "abcde", "ad", ""},
		{"a pair of which one died", "a", "ab", "ac", "a", "ac"},
		{"the last member stays until there is another", "a", "ab", "", "a", ""},
		{"the first list waits for nobody", "a", "", "ab", "", "ab"},
		{"nor does it matter who reports beside", "ab", "a", "abc", "xyzab", "abc"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var r Roster
			in := Input{Now: noon, Record: record(c.list, c.before), Wanted: members(c.wanted), Reported: all(c.report)}
			if next, _ := r.Next(in); next != nil && next.GetRevision() != 7 {
				t.Fatalf("a step without settling: %v", next)
			} else if next != nil {
				in.Record = next
			}
			in.Now = noon.Add(Settle)
			next, _ := r.Next(in)
			if got := strings.Join(next.GetMembers(), ""); next.GetRevision() != 7 && got != c.want {
				t.Errorf("next is %q, want %q", got, c.want)
			}
			if c.want == "" {
				if next.GetRevision() > 7 {
					t.Errorf("a step to %v", next)
				}
				return
			}
			if next.GetRevision() < uint64(noon.UnixMilli()) || !slices.Equal(next.GetBefore(), members(c.list)) || next.GetLineage() != 1 || len(next.GetReported()) > 0 {
				t.Errorf("%v", next)
			}
		})
	}
}

func TestAReportOfAnotherListDoesNotCount(t *testing.T) {
	var r Roster
	in := Input{Now: noon, Record: record("abcd", "abc"), Wanted: members("abcde"), Reported: map[string]uint64{"a": 6, "b": 8, "c": 7}}
	next, _ := r.Next(in)
	if !slices.Equal(next.GetReported(), []string{"c"}) || next.GetRevision() != 7 {
		t.Errorf("%v", next)
	}
	// What is in the record stays, whoever is connected here.
	in.Record, in.Reported = next, map[string]uint64{"b": 7}
	if next, _ = r.Next(in); !slices.Equal(next.GetReported(), []string{"b", "c"}) {
		t.Errorf("%v", next)
	}
}

func TestReportsAreWrittenOnlyWhileAStepWaits(t *testing.T) {
	var r Roster
	if next, again := r.Next(Input{Now: noon, Record: record("abc", "ab"), Wanted: members("abc"), Reported: all("abc")}); next != nil || !again.IsZero() {
		t.Errorf("%v, again at %v", next, again)
	}
}

func TestAReplicaSettlesByItsOwnClockAndAnewAfterARestart(t *testing.T) {
	in := Input{Now: noon, Record: record("abc", "ab"), Wanted: members("abcd"), Reported: all("ab")}
	in.Record.Reported = members("ab")
	var r Roster
	next, again := r.Next(in)
	if next != nil || !again.Equal(noon.Add(Settle)) {
		t.Fatalf("%v, again at %v", next, again)
	}
	in.Now = noon.Add(Settle - 1)
	if next, _ = r.Next(in); next != nil {
		t.Fatal("too early")
	}
	var restarted Roster
	in.Now = noon.Add(Settle)
	if next, _ = restarted.Next(in); next != nil {
		t.Fatal("a replica that has just started makes a step")
	}
	if next, _ = r.Next(in); next == nil {
		t.Fatal("no step")
	}
	// Another list meanwhile: it settles anew.
	in.Record = record("abce", "abc")
	in.Record.Revision, in.Record.Reported = 9, members("abc")
	if next, _ = r.Next(in); next != nil {
		t.Fatal("a step right after another one")
	}
}

func TestWhatIsSettledForBeginsAnewWhenItWasGone(t *testing.T) {
	full := Input{Record: record("abc", "ab"), Wanted: members("abcd"), Reported: all("ab")}
	for name, gone := range map[string]Input{
		"too few report":    {Record: record("abcd", "abc"), Wanted: members("abcde"), Reported: all("a")},
		"nothing is wanted": {Record: full.Record, Wanted: members("abc"), Reported: all("ab")},
	} {
		var r Roster
		at := func(after time.Duration, in Input) *fleetv1.ListRecord {
			in.Now = noon.Add(after)
			next, _ := r.Next(in)
			return next
		}
		at(0, full)
		at(Settle/5, gone)
		at(Settle/2, full)
		if next := at(Settle+Settle/4, full); len(next.GetMembers()) == 4 {
			t.Errorf("%s: a step was made too early: %v", name, next)
		}
		if next := at(Settle+Settle/2, full); len(next.GetMembers()) != 4 {
			t.Errorf("%s: no step was made: %v", name, next)
		}
	}
}

func TestAFullListTakesNobodyMore(t *testing.T) {
	list := make([]string, MaxMembers)
	for i := range list {
		list[i] = fmt.Sprintf("n%05d", i)
	}
	if next, changed := step(list, append(slices.Clone(list), "z")); changed {
		t.Errorf("%d members", len(next))
	}
	if next, changed := step(list[1:], append(slices.Clone(list), "z")); !changed || len(next) != MaxMembers {
		t.Errorf("%d members, changed %t", len(next), changed)
	}
}

func TestTheFirstListHasAllThatCameInTime(t *testing.T) {
	var r Roster
	if next, again := r.Next(Input{Now: noon}); next != nil || !again.IsZero() {
		t.Fatalf("a list of nobody: %v", next)
	}
	next, again := r.Next(Input{Now: noon, Wanted: members("b"), Random: 5})
	if next != nil || !again.Equal(noon.Add(Gather)) {
		t.Fatalf("%v, again at %v", next, again)
	}
	next, _ = r.Next(Input{Now: noon.Add(Gather), Wanted: members("cba"), Random: 5})
	if !slices.Equal(next.GetMembers(), members("abc")) || next.GetLineage() != 5 || next.GetRevision() != uint64(noon.Add(Gather).UnixMilli()) || next.GetAdopted() {
		t.Errorf("%v", next)
	}
}

func TestAWipedStoreTakesOverTheNewestListThatANodeKeeps(t *testing.T) {
	var r Roster
	r.Heard(noon, Kept{Lineage: 3, Revision: 20, Members: members("abc")})
	r.Heard(noon, Kept{Lineage: 3, Revision: 22, Members: members("dcba")})
	r.Heard(noon, Kept{Lineage: 3, Revision: 21, Members: members("ab")})
	r.Heard(noon, Kept{Lineage: 3, Revision: uint64(noon.Add(MaxAhead + time.Hour).UnixMilli()), Members: members("z")}) // nobody made that yet
	in := Input{Now: noon, Wanted: members("a"), Random: 5}
	r.Next(in)
	in.Now = noon.Add(Gather)
	next, _ := r.Next(in)
	if next.GetLineage() != 3 || next.GetRevision() != 22 || !next.GetAdopted() || !slices.Equal(next.GetMembers(), members("abcd")) {
		t.Fatalf("%v", next)
	}
	// It is gone on from when a majority of its own members report it, not half.
	in.Record, in.Wanted = next, members("abcde")
	in.Reported = map[string]uint64{"a": 22, "b": 22}
	step := func() *fleetv1.ListRecord {
		for range 3 {
			if next, _ := r.Next(in); next != nil {
				in.Record = next
			}
			in.Now = in.Now.Add(Settle)
		}
		return in.Record
	}
	if got := step(); got.GetRevision() != 22 {
		t.Fatalf("half of them let it go on: %v", got)
	}
	in.Reported["c"] = 22
	if got := step(); got.GetRevision() == 22 || !slices.Equal(got.GetMembers(), members("abcde")) || got.GetAdopted() || got.GetLineage() != 3 {
		t.Fatalf("%v", got)
	}
}

func TestAStorePutBackTakesOverAHigherRevisionOfItsLineageOnly(t *testing.T) {
	var r Roster
	in := Input{Now: noon, Record: record("abc", "ab"), Wanted: members("abc")}
	r.Heard(noon, Kept{Lineage: 2, Revision: 30, Members: members("xyz")}) // moved here from another fleet
	r.Heard(noon, Kept{Lineage: 1, Revision: 6, Members: members("ab")})   // was away
	if next, _ := r.Next(in); next != nil {
		t.Fatalf("%v", next)
	}
	r.Heard(noon, Kept{Lineage: 1, Revision: 8, Members: members("abcd")})
	next, _ := r.Next(in)
	if next.GetRevision() != 8 || !next.GetAdopted() || len(next.GetMembers()) != 4 {
		t.Fatalf("%v", next)
	}
}

func TestAListThatSaysNothingIsPassedOver(t *testing.T) {
	for _, kept := range []Kept{
		{Revision: 1, Members: members("a")},
		{Lineage: 1, Members: members("a")},
		{Lineage: 1, Revision: 1},
		{Lineage: 1, Revision: uint64(noon.Add(MaxAhead).UnixMilli()) + 1, Members: members("a")},
	} {
		var r Roster
		if r.Heard(noon, kept); len(r.found) > 0 {
			t.Errorf("%+v is remembered", kept)
		}
	}
	var r Roster
	if r.Heard(noon, Kept{Lineage: 1, Revision: uint64(noon.Add(MaxAhead).UnixMilli()), Members: members("a")}); len(r.found) != 1 {
		t.Error("the last revision that a store may have made is not")
	}
}

func TestWhatNodesKeepIsBounded(t *testing.T) {
	var r Roster
	for lineage := range uint64(100) {
		r.Heard(noon, Kept{Lineage: lineage, Revision: 1, Members: members("a")})
	}
	if len(r.found) != maxLineages {
		t.Errorf("%d lists are remembered", len(r.found))
	}
	r = Roster{}
	for range 2 { // each of its nodes keeps it
		r.Heard(noon, Kept{Lineage: 1, Revision: 1, Members: members("a")})
	}
	if len(r.found) != 1 {
		t.Errorf("one list is remembered %d times", len(r.found))
	}
	wanted := make([]string, 2*MaxMembers)
	for i := range wanted {
		wanted[i] = fmt.Sprintf("n%05d", i)
	}
	r = Roster{}
	r.Next(Input{Now: noon, Wanted: wanted})
	next, _ := r.Next(Input{Now: noon.Add(Gather), Wanted: wanted})
	if len(next.GetMembers()) != MaxMembers {
		t.Errorf("%d members", len(next.GetMembers()))
	}
}

// fleet is nodes that go by lists, two replicas that see some of them, and a
// store that one of them at a time writes.
type fleet struct {
	rnd      *rand.Rand
	now      time.Time
	record   *fleetv1.ListRecord
	replicas [2]*Roster
	lists    map[uint64][]string // by revision
	goBy     map[string]uint64   // 0: the node keeps none
	wanted   []string
}

// turn has something happen.
func (f *fleet) turn() {
	names := members("abcdefg")
	switch f.rnd.IntN(6) {
	case 0: // somebody wants something else
		f.wanted = slices.DeleteFunc(slices.Clone(names), func(string) bool { return f.rnd.IntN(3) == 0 })
	case 1, 2: // a node hears of the list
		f.goBy[names[f.rnd.IntN(len(names))]] = f.record.GetRevision()
	case 3: // a replica starts again
		f.replicas[f.rnd.IntN(2)] = &Roster{}
	default:
		f.now = f.now.Add(time.Duration(f.rnd.IntN(int(2 * Settle))))
	}
	seen := f.record // both look before either writes
	for _, i := range f.rnd.Perm(2) {
		reports := maps.Clone(f.goBy)
		for id := range reports {
			if f.rnd.IntN(2) == 0 {
				delete(reports, id) // it is connected to the other one
			}
		}
		next, _ := f.replicas[i].Next(Input{Now: f.now, Record: seen, Wanted: f.wanted, Reported: reports, Random: 1})
		if next != nil && f.record == seen { // compare and swap
			f.record = next
			f.lists[next.GetRevision()] = next.GetMembers()
		}
	}
}

// inForce are the lists by which a majority of their members go.
func (f *fleet) inForce() (revisions []uint64) {
	for revision, list := range f.lists {
		votes := 0
		for _, id := range list {
			if f.goBy[id] == revision {
				votes++
			}
		}
		// The newest is counted in any case: nodes may go by it at any moment.
		if majority(len(list), votes) || revision == f.record.GetRevision() {
			revisions = append(revisions, revision)
		}
	}
	slices.Sort(revisions)
	return revisions
}

// differ counts the members that only one of two lists has.
func differ(a, b []string) (n int) {
	for _, id := range a {
		if !slices.Contains(b, id) {
			n++
		}
	}
	for _, id := range b {
		if !slices.Contains(a, id) {
			n++
		}
	}
	return n
}

func TestListsInForceDifferByOneMemberWhateverReplicasDo(t *testing.T) {
	steps := 0
	for seed := range uint64(300) {
		f := &fleet{
			rnd: rand.New(rand.NewPCG(seed, 1)), now: noon, replicas: [2]*Roster{{}, {}},
			lists: map[uint64][]string{}, goBy: map[string]uint64{}, wanted: members("abc"),
		}
		for range 400 {
			f.turn()
			revisions := f.inForce()
			if len(revisions) > 2 {
				t.Fatalf("seed %d: %v are in force", seed, revisions)
			}
			for i := 1; i < len(revisions); i++ {
				if differ(f.lists[revisions[i-1]], f.lists[revisions[i]]) > 1 {
					t.Fatalf("seed %d: %v and %v are in force", seed, f.lists[revisions[i-1]], f.lists[revisions[i]])
				}
			}
		}
		steps += len(f.lists)
	}
	t.Logf("%d lists", steps)
	if steps < 3000 {
		t.Errorf("only %d lists: the test shows little", steps)
	}
}

func TestWhyAListDoesNotFollowIsKnown(t *testing.T) {
	full := make([]string, MaxMembers)
	for i := range full {
		full[i] = fmt.Sprintf("m%04d", i)
	}
	for _, c := range []struct {
		name    string
		record  *fleetv1.ListRecord
		wanted  []string
		report  string
		silent  string
		more    int
		leftOut string
	}{
		{"there is none", nil, members("a"), "", "", 0, ""},
		{"it has followed", record("abc", "ab"), members("abc"), "", "", 0, ""},
		{"it is about to", record("abc", "ab"), members("abcd"), "a", "", 0, ""},
		{"the list before was of dead machines", record("abcdef", "abcde"), members("def"), "de", "abc", 1, ""},
		{"nobody is there", record("abcdef", "abcde"), members("def"), "", "abcde", 3, ""},
		{"one that was found waits for a majority of its own", &fleetv1.ListRecord{Revision: 7, Members: members("abcd"), Adopted: true}, members("abc"), "a", "bcd", 2, ""},
		{"it is full", &fleetv1.ListRecord{Revision: 7, Members: full}, append([]string{"n1", "m0000", "n2"}, full[1:]...), "", "", 0, "n1n2"},
	} {
		why := Why(Input{Now: noon, Record: c.record, Wanted: c.wanted, Reported: all(c.report)})
		if strings.Join(why.Silent, "") != c.silent || why.More != c.more || strings.Join(why.LeftOut, "") != c.leftOut {
			t.Errorf("%s: %+v", c.name, why)
		}
		if c.more > 0 { // so many are enough, and fewer are not
			for _, more := range []int{c.more - 1, c.more} {
				now := Why(Input{Now: noon, Record: c.record, Wanted: c.wanted, Reported: all(c.report + strings.Join(why.Silent[:more], ""))})
				if (now.More == 0) != (more == c.more) {
					t.Errorf("%s: with %d more: %+v", c.name, more, now)
				}
			}
		}
	}
}
