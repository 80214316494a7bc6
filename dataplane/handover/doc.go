// Package handover is how two processes of one node pass the node's sockets from
// the old one to the new one: the messages, and the conversation from both sides.
//
// # Model
//
// In the old process Give starts the Program with one end of a pair of connected
// sockets and sees it as its successor; in the new one Inherit finds that end and makes a
// Predecessor. Both speak in messages: a kind, a short text, and descriptors. The whole
// conversation, old process on the left:
//
//	          ← Hello   the new process runs; text: Protocol
//	Socket →            one address and its listening sockets, or a part of them
//	Admin  →            the admin address and its listening socket
//	State  →            what the new process has to serve; nothing follows
//	          ← Warm    all is prepared that can be without taking a connection
//	Go     →            take connections: from here on there is no way back
//	          ← Unclaimed some of the addresses that it has no use for, if they do
//	                    not fit into Ready; any number of times
//	          ← Ready   it serves; text: the addresses that it has no use for, or the
//	                    rest of them
//	Done   →            the old process listens nowhere and follows nobody
//	          ← Settled the new process has everything; the old one may leave
//
// Failed, from either side, ends the conversation with a reason. So does the end
// of the stream.
//
// What happens beside it, with the calls of the interfaces that the node's parts
// implement:
//
//	Hello     Old.Hold: no change comes into force until the end of the hand-over
//	State     Served.Check; the node makes its parts, suspended as the old one's are
//	Warm      Predecessor.Watch has seen the first table on its way into force
//	          Old.Resign: what two processes cannot have
//	Go        Engine.Resume, Engine.CloseUnclaimed
//	Ready     Old.Leave
//	Done      claim, and Begin: the new process follows the control plane
//	failure   the new process ends, or is killed; Old.Resume
//
// # Invariants
//
//   - Messages are bounded in size and in descriptors; one that is longer, cut
//     short or of an unknown kind is an error, and its descriptors are closed.
//   - Descriptors that arrive are closed on exec, and belong to whoever receives them.
//   - A socket is shared, not moved: both processes take connections from its
//     queue, and the queue lives until the last of them closes it.
//   - Up to Ready the old process can go on, and does, whatever the new one does.
//     From Go to Ready both take connections.
//   - From Warm on the new process can go on, and does if the old one dies. It tells that
//     from being given up by its parent: an old process that gives it up is still that, and
//     kills it.
//   - Give returns when the new process serves or has ended, within the program's
//     timeout and TurnTimeout for each of the last steps.
//
// # Who owns what
//
// A Conn belongs to the goroutine of Give in the old process, to that of Inherit and then
// Run in the new one. The sockets of an Estate stay the old node's; those of a Predecessor
// belong to whoever takes them from it.
//
// OpenSocket and Descriptors are for package agent too, whose two processes pass sockets in
// a conversation of their own.
package handover
