package roster

import (
	"slices"
	"time"

	fleetv1 "github.com/proxyfleet/proxyfleet/proto/fleet/v1"
)

const (
	// Settle is from when enough members reported the present list until the next
	// step: twice what a grant lasts (vip.GrantFor), for those that were given by
	// the list before.
	Settle = 500 * time.Millisecond
	// Gather is from the first node that is heard of until the first list is made:
	// a fleet that starts is in it at once, and one whose store was wiped says what
	// list it keeps.
	Gather = 2 * time.Second
	// MaxMembers bounds a list: a holder sends to each of its members 20 times a
	// second. Nodes agree on it (vip.MaxMembers).
	MaxMembers = 1024
	// MaxAhead bounds how far a list that a node keeps may be ahead of the clock, and
	// whatever else of the fleet is numbered by Unix milliseconds. It is far from the end of
	// the numbers, and more than any clock is wrong by: one that was years ahead when a
	// number was given, or begins in 1970 now, keeps no node out.
	MaxAhead = 100 * 365 * 24 * time.Hour
	// maxLineages bounds the lists that are remembered: nodes of so many stores do
	// not meet.
	maxLineages = 8
)

// Kept is the list that a node says it keeps.
type Kept struct {
	Lineage, Revision uint64
	Members           []string
}

// Input is what a replica sees.
type Input struct {
	// Now is the replica's clock.
	Now time.Time
	// Record is the one in the store; nil: there is none.
	Record *fleetv1.ListRecord
	// Wanted are the nodes that are to be expected members, in any order.
	Wanted []string
	// Reported is what connected nodes say they go by: the revision, by id. Those
	// who say 0 are left out.
	Reported map[string]uint64
	// Random is another number at each call, for the lineage of a first list.
	Random uint64
}

// Roster is one replica's part in changing the list.
type Roster struct {
	// found are the newest lists that nodes keep, one of a lineage, at most
	// maxLineages.
	found []Kept
	// begun is when a node was first seen wanted, while there was no list.
	begun time.Time
	// ready is since when the next step may be made, for the record of that revision.
	ready    time.Time
	readyFor uint64
}

// Heard notes what a node keeps. The caller must have bounded it. A revision far
// beyond the clock is none that a store made, and to go on from it would end all
// steps: it is passed over.
func (r *Roster) Heard(now time.Time, kept Kept) {
	if kept.Lineage == 0 || kept.Revision == 0 || len(kept.Members) == 0 || kept.Revision > millis(now.Add(MaxAhead)) {
		return
	}
	kept.Members = normal(kept.Members)
	i := slices.IndexFunc(r.found, func(k Kept) bool { return k.Lineage == kept.Lineage })
	switch {
	case i >= 0 && r.found[i].Revision < kept.Revision:
		r.found[i] = kept
	case i < 0 && len(r.found) < maxLineages:
		r.found = append(r.found, kept)
	}
}

// newest is the newest found list of a lineage, or with 0 of any. Revision 0:
// there is none.
func (r *Roster) newest(lineage uint64) (newest Kept) {
	for _, k := range r.found {
		if (lineage == 0 || k.Lineage == lineage) && k.Revision > newest.Revision {
			newest = k
		}
	}
	return newest
}

// Next returns the record to write in place of in.Record, or nil if there is
// nothing to write; and when to ask again if nothing happens before, zero: not
// by itself.
func (r *Roster) Next(in Input) (next *fleetv1.ListRecord, again time.Time) {
	wanted := normal(in.Wanted)
	if in.Record == nil {
		return r.first(in, wanted)
	}
	r.begun = time.Time{}
	record := in.Record
	if k := r.newest(record.GetLineage()); k.Revision > record.GetRevision() {
		return adopt(k), time.Time{}
	}
	members, changed := step(record.GetMembers(), wanted)
	if !changed {
		r.readyFor = 0
		return nil, time.Time{}
	}
	reported, news := merge(record, in.Reported)
	if !Enough(record, reported) {
		r.readyFor = 0
		if news {
			return withReports(record, reported), time.Time{}
		}
		return nil, time.Time{}
	}
	if r.readyFor != record.GetRevision() {
		r.ready, r.readyFor = in.Now, record.GetRevision()
	}
	if at := r.ready.Add(Settle); in.Now.Before(at) {
		if news {
			// Other replicas see by it that the step may be made.
			return withReports(record, reported), at
		}
		return nil, at
	}
	r.readyFor = 0
	return &fleetv1.ListRecord{
		Lineage: record.GetLineage(), Revision: above(record.GetRevision(), in.Now),
		Members: members, Before: record.GetMembers(),
	}, time.Time{}
}

// Standstill is why a list does not follow what is wanted, other than for a moment.
type Standstill struct {
	// Silent are members that have not reported the present list, and More is how many of
	// them have to before the next step.
	Silent []string
	More   int
	// LeftOut are the nodes for which the list has no place.
	LeftOut []string
}

// Why says why the list does not follow; nothing: it does, or may at any moment.
func Why(in Input) (why Standstill) {
	if in.Record == nil {
		return why
	}
	list, wanted := in.Record.GetMembers(), normal(in.Wanted)
	if len(list) >= MaxMembers {
		why.LeftOut = slices.DeleteFunc(slices.Clone(wanted), func(id string) bool { return slices.Contains(list, id) })
	}
	reported, _ := merge(in.Record, in.Reported)
	if _, changed := step(list, wanted); !changed || Enough(in.Record, reported) {
		return why
	}
	for _, id := range voters(in.Record) {
		if !slices.Contains(reported, id) {
			why.Silent = append(why.Silent, id)
		}
	}
	for why.More = 1; !Enough(in.Record, append(slices.Clone(reported), why.Silent[:why.More]...)); {
		why.More++
	}
	return why
}

// first makes the first list, of all that want to be in it.
func (r *Roster) first(in Input, wanted []string) (next *fleetv1.ListRecord, again time.Time) {
	found := r.newest(0)
	if len(wanted) == 0 && found.Revision == 0 {
		r.begun = time.Time{}
		return nil, time.Time{}
	}
	if r.begun.IsZero() {
		r.begun = in.Now
	}
	if at := r.begun.Add(Gather); in.Now.Before(at) {
		return nil, at
	}
	if found.Revision != 0 {
		return adopt(found), time.Time{}
	}
	return &fleetv1.ListRecord{
		Lineage: max(in.Random, 1), Revision: above(0, in.Now), Members: wanted[:min(len(wanted), MaxMembers)],
	}, time.Time{}
}

func adopt(k Kept) *fleetv1.ListRecord {
	return &fleetv1.ListRecord{Lineage: k.Lineage, Revision: k.Revision, Members: k.Members, Adopted: true}
}

// Enough says whether those of the record's members, or of the list before, that
// did not report the present list are too few to keep another one in force.
func Enough(record *fleetv1.ListRecord, reported []string) bool {
	voters := voters(record)
	if record.GetAdopted() {
		return majority(len(voters), len(reported))
	}
	return !majority(len(voters), len(voters)-len(reported))
}

// voters are those whose reports count.
func voters(record *fleetv1.ListRecord) []string {
	if record.GetAdopted() {
		return record.GetMembers()
	}
	return record.GetBefore()
}

// majority says whether that many of n are one: more than half. It is
// vip.List.Majority.
func majority(n, votes int) bool { return votes >= n/2+1 }

// merge returns the voters that reported the present list, as the record has them
// or as they say now, and whether that is more than the record has.
func merge(record *fleetv1.ListRecord, reports map[string]uint64) (reported []string, news bool) {
	for _, id := range voters(record) {
		if slices.Contains(record.GetReported(), id) {
			reported = append(reported, id)
		} else if reports[id] == record.GetRevision() {
			reported, news = append(reported, id), true
		}
	}
	return reported, news
}

func withReports(record *fleetv1.ListRecord, reported []string) *fleetv1.ListRecord {
	return &fleetv1.ListRecord{
		Lineage: record.GetLineage(), Revision: record.GetRevision(), Members: record.GetMembers(),
		Before: record.GetBefore(), Adopted: record.GetAdopted(), Reported: reported,
	}
}

// step returns the list that is one member nearer to what is wanted. Members are
// added before others are removed: the list that results in between bears the loss
// of those that are going. The list never becomes empty: the last member stays
// until there is another.
func step(list, wanted []string) (next []string, changed bool) {
	for _, id := range wanted {
		if !slices.Contains(list, id) && len(list) < MaxMembers {
			return normal(append(slices.Clone(list), id)), true
		}
	}
	for i, id := range list {
		if !slices.Contains(wanted, id) && len(list) > 1 {
			return slices.Delete(slices.Clone(list), i, i+1), true
		}
	}
	return list, false
}

// normal is a sorted copy with each id once.
func normal(ids []string) []string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// above is a revision that was never used: above the last one, and above those
// that a lost store may have used before now.
func above(revision uint64, now time.Time) uint64 { return max(revision+1, millis(now)) }

func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }
