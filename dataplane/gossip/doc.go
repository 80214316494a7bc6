// Package gossip finds out who is in the fleet, with hashicorp/memberlist, and
// carries the direct messages between members.
//
// What gossip knows comes out as one immutable member.View, the latest wins: a
// change only says "look again". What a node says of itself goes in with SetSelf
// and travels in memberlist's meta data, 512 bytes at most. Messages go by one
// datagram each, at best effort, unordered; nothing bulky belongs there, since
// memberlist handles them last and the latest first.
//
// Gossip is sealed with the keys of a file (ReadKeyFile) and bears the fleet's
// name as a label: members of two fleets that meet do not mix. Without keys it
// speaks on loopback only, unless told otherwise.
//
// Anybody can send to where gossip listens. Datagrams that are not of the fleet, or are some that
// came a while ago, are dropped as they are read, before memberlist, which takes much longer to find that out: that is a third of
// one processor at most, since package agent may run this at a real-time priority. Those that
// come faster are lost, and members' among them. Streams are bounded in number, rate and length,
// since they are read before it is known who sends. What was recorded long ago and is sent again
// is taken for a member's, by memberlist too: it may tell of members as they were once, until they
// say otherwise. So nothing that must be true follows from a View (package member).
//
// Nobody waits to send. What the kernel has no room for is lost: it keeps what is for a machine
// of this network that is switched off, and members that were heard lately have half of the room
// for themselves.
//
// memberlist alone does not survive a partition that lasts: each half declares
// the other dead and forgets it. So this package remembers where members were
// and tries, every few seconds, to join some of those that are not there.
//
// A Gossip runs once: New starts nothing, Run owns everything that it starts and
// leaves the fleet when it ends.
package gossip
