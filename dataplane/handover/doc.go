// Package handover is how two processes of one node pass the node's sockets from
// the old one to the new one.
//
// # Model
//
// The old process makes a pair of connected sockets, keeps one end and starts the
// new process with the other. Both speak in messages: a kind, a short text, and
// descriptors. The whole conversation, old process on the left:
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
// # Invariants
//
//   - Messages are bounded in size and in descriptors; one that is longer, cut
//     short or of an unknown kind is an error, and its descriptors are closed.
//   - Descriptors that arrive are closed on exec, and belong to who receives them.
//   - A socket is shared, not moved: both processes take connections from its
//     queue, and the queue lives until the last of them closes it.
package handover
