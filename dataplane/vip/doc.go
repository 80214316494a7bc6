// Package vip decides which node holds a virtual IP. It is pure: time, what the
// network brought and what gossip knows are passed in, what to do comes back.
//
// Two questions are kept apart.
//
// Who should ask is answered by an election, a pure function of the
// member.View. It may answer differently on two nodes at one time, and it need
// not know who can reach whom: a wrong answer costs time, never more.
//
// Who holds is decided by [Grants]. Each member of the list of expected members
// grants a virtual IP to at most one process at a time. A candidate asks all of
// them; a grant lasts [GrantFor], counted by the member from when it gave it,
// and is renewed by every request that the member acknowledges, one each
// [Beat]. The candidate holds while a majority granted, and for each of them it
// counts [KeepFor] from when it sent the last request that was acknowledged. So
//
//   - the holder's time begins before each member's (a request is sent before it
//     arrives) and is shorter, by more than clocks that differ by ±1 % can make
//     up: it has let go before any of its majority grants to another;
//   - two majorities of one list share a member, which grants to one at a time;
//   - a member that starts grants nothing for GrantFor: what its process granted
//     before, and forgot, has run out by then.
//
// Hence never two holders, whatever the network loses, delays, repeats or
// reorders, and whichever nodes can hear each other. That is [Majority].
// [Availability] gives it up on purpose; see there.
//
// Who has heard members may repeat to others what they said, at any time: a grant remembers the
// request by which it was given, and nothing older ends it or takes its place. What a process says
// that another of its member has followed, as Views showed, gets it nothing that it has not got.
// Where no View has shown the older of the two it does, as long as it is repeated: nobody else may
// hold then, and never two.
//
// Members are told apart by their ids. A process that follows another of its id has
// another boot, and waits as anybody does. Two that run at one time are one member that
// grants twice, which nothing here can find out: the control plane refuses the second
// machine of an id, and members send what they answer to the first.
//
// # Time
//
// Instants are nanoseconds of a clock that counts suspended time too
// (CLOCK_BOOTTIME), passed as now. Clocks of two nodes need not agree; their
// rates must, to ±1 %. A machine whose clock stood still for a while, as when a
// hypervisor paused it, holds for at most KeepFor after it goes on, whoever else does.
//
// The caller must read the clock after it has received the events that it passes with
// it, must call Step again at NextDeadline, and must execute the actions in their order
// before it waits. What it is late by, from the deadline until an address is off, eats
// into the margin between KeepFor and GrantFor: 45 ms are left when rates differ by the
// most. A caller that may be stopped at any point compares the clock with Claim.Until
// right before it brings an address up; for one that is stopped while it holds,
// something else must take the address off (a lease of the kernel's, a second process).
//
// # Lists
//
// Requests count only between members that go by the same revision of the list
// of expected members. Lists of one revision are equal, and any two lists that
// are in force at one time must have no two disjoint majorities. Whoever changes
// lists sees to both (docs/adr/0007): a majority is more than half, and lists
// change by one member at a time.
//
// Availability holds without a majority, also by a list that is not in force any
// more: a node may be behind since it cannot keep the next one, or since no control
// plane reaches it. Members of the next list tell it who holds by that, whether it
// still is a member or not, and it gives way.
//
// # Owners
//
// A Grants belongs to one goroutine. A Message is never changed once it was
// handed over, in either direction.
package vip
