// Package agent is the part of a node that takes part in deciding who holds a
// virtual IP: the vip-agent, a small process beside the main one, away from
// traffic and its garbage, and the main process's half, which runs it.
//
// # Model
//
//	main process                              vip-agent (a child, the same binary)
//	Supervisor ── what is wanted, VIPs, list ──▶ loop: Grants, sockets
//	           ◀── report, leases, sockets ──     gossip (memberlist)
//	           ── a sign of life each 50 ms (pipe) ──▶
//
// The agent gossips, grants, asks and holds. A node that holds listens: the agent
// opens one socket for each port of the virtual IP (announce mode BIND) and passes
// a copy to the main process, whose loops take connections from it. To let go it
// calls shutdown, which ends listening for every copy in whichever process, running
// or stopped, and closes.
//
// One goroutine of the agent decides and acts (loop). It takes what happened, one thing
// and the messages of members that wait, reads CLOCK_BOOTTIME after it did, steps Grants, carries out the
// actions in their order, and waits until the next deadline. Nothing that it does
// waits for another process: what goes to the main process is queued, what goes to
// members is a datagram.
//
// # Why there are never two holders
//
// Grants give a node the virtual IP until an instant, and give it to nobody else
// before (package vip). They are asked for the address: nodes may go by different
// configurations for as long as no control plane reaches them, in which the virtual
// IP of one address has different names. What is left is that nothing listens after
// that instant.
//
//   - The agent runs: it lets go when the time is up, within a turn of its loop.
//   - The agent was stopped (SIGSTOP, swapped out, starved) while it held: each 50 ms
//     it says until when each virtual IP is held, and the main process ends
//     its copies of the sockets, and so the socket, 40 ms after that instant
//     unless a later one came. If something is unread, the end is put off by 1 ms, up
//     to 100 times, at most 1 s after the lease. When the agent goes on, the clock is
//     the first that it looks at; Grants then says Drop.
//   - The agent was stopped between Claim and listening: it looks at the clock
//     right before it opens the socket and again right after, before anybody gets
//     a copy. A socket that came late is closed unseen. Until it goes on, nobody else
//     can end a socket that only it has: clients of this machine's address wait in its
//     queue, for 5 s at most, since an agent that is silent for so long is killed.
//   - The agent died: its end of the socket pair closes, and the main process ends
//     its copies at once. The next agent is another boot for the members: it holds
//     what it is granted anew, and grants nothing for 250 ms.
//   - The main process died: the pipe and the pair close, the agent lets go at
//     once, tells the members, says it again for 70 ms, leaves and ends.
//   - The main process was stopped: no sign of life comes for 250 ms, the agent lets
//     go; if a loop hangs, 100 ms later, as a loop may wait that long for a processor.
//     Then the node is not eligible until signs come again. Each says when it was
//     written: one that is older than 250 ms when it is read does not count, as when
//     the agent itself was stopped. What the main process has copies of listens no more
//     when it goes on; its loops see EINVAL, and connections end after the answer at hand.
//   - Both were stopped: nobody can act, and the kernel goes on listening for
//     processes that do not accept. In mode BIND nobody else on this machine can
//     listen meanwhile; on another machine the next holder serves. Whichever goes on
//     first ends the socket before it does anything else with it, but a loop of the
//     main process may take a connection that waits in the queue: it is answered,
//     and ends. If the main process is killed then, the kernel has the agent go on.
//   - The machine was suspended: the clock counts that. The agent and the main process
//     look at it within 50 ms after they go on, whatever their timers say, which do not
//     count it, and end the sockets of leases that have run out.
//   - The machine was stopped and its clock with it, as a hypervisor does that pauses or
//     moves a virtual machine: no clock in it knows, and it takes what was granted before
//     for fresh. It goes on to hold for what was left of the lease, at most 200 ms,
//     and 40 ms more where only the main process goes on. For so long there can be two
//     holders. What comes late to such a machine, or from it, makes no grant longer:
//     a holder counts from when it sent the request that was answered.
//   - The node starts again, or is replaced (upgrade): the old process resigns and
//     ends its agent before the new one starts an agent. If an old agent is still
//     there, the new one waits for the gossip address, and for the sockets'.
//
// A machine that is busy with other things may keep the main process from running
// for as long, and a move would only cost its clients their connections. So before
// the agent, which has a real-time priority where it may, gives up a main process
// that is silent, it looks at its threads (onlooker): while one of them spends half of
// the time or more waiting for a processor, and none is stopped, the node goes on
// holding, for a second of silence at most. That is safe: grants are the agent's.
//
// The main process never calls listen on a shared socket: on one that was shut
// down that would take the address back.
//
// Under policy AVAILABILITY, and in a fleet of one, the node goes on holding when
// it was stopped: the agent looks at its sockets every 50 ms, finds that they
// listen no more, and opens others.
//
// # Bounds
//
// Messages between the two processes have at most 64 MiB. The inbox for messages of
// members has 1,024 places; one that is full is as good as a lossy network. What
// waits for a main process that does not read is bounded: 256 sockets at a time are on
// their way to it, and further ones are opened as it takes them. A turn opens 64, so that
// what is held is renewed between two turns, however many sockets there are to open.
// Orders and reports replace the ones before. A port that somebody else has is tried for
// 2 s, then this node leaves the virtual IP to others for 5 s; an address that this
// machine does not have, or may not listen on, for as long as that is so. Whether it has what
// it holds is looked for each second, since a socket listens on without its address. A socket
// that the main process has no descriptor for, or that its loops cannot share, is ended and
// tried again every 50 ms, for 2 s likewise; what is held besides goes on. If the virtual
// IP comes back, the others could not have all of it either: the node then keeps the ports
// that it can have, tries the rest each second, and tells of the conflict. An agent that
// says nothing for 5 s is killed; the next starts after 50 ms to 5 s. What it logs waits for
// nobody (package scribe).
//
// # Owners
//
// The loop owns Grants, and the sockets with their numbers. Whoever receives from a
// connection owns the descriptors that come. The Supervisor owns the process and
// its copies; the engine makes copies of its own.
//
// # Where to look
//
//	the agent          child      its start: descriptors, gossip, who hears what
//	                   loop       a turn: what came, Grants, their actions, the next deadline
//	                   wanted     what the main process wants, as Grants are told it
//	                   self       what gossip says of this node
//	                   pulse      whether the main process lives, by onlooker if it is silent
//	                   held       the sockets of what is held, each by holding and sockets
//	                   here       whether an address is this machine's
//	                   report     what the main process is told, by outbox
//	                   insist     its memory and its priority
//	the main process   supervisor what is wanted, how the agent stands, when the next starts
//	                   vips       a table's virtual IPs, as the agent is told them
//	                   life       one agent, from its start to its end
//	                   copies     the sockets that came from it
//	both               conn, wire
//
// # The way of a failover
//
// When the main process of a holder is killed:
//
//	its agent     hearPulses: the pipe has ended; run: leave; turn: reflect, which takes
//	              Eligible off this node; Step: hold, letGo; do: Drop, which ends the
//	              sockets, and Send, which tells the members
//	a member      receive; run; turn; Step: receive, released, elect, wait: it is this node's
//	              turn; do: Send, which asks
//	its answers   Step: answered, count, ask: claim; do: Claim; serveHeld, serve: the sockets
//	              are opened; outbox: a copy of each is on its way
//	its process   hear, take, work: the engine shares them
package agent
