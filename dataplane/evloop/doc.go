// Package evloop is the driver of the engine: it owns descriptors, buffers,
// timers and connections, feeds the codecs, steps the exchanges and carries out
// what they ask. Nothing here decides what an answer is.
//
// One Loop runs on one locked thread. It owns its listening sockets
// (SO_REUSEPORT spreads connections over loops), its client connections, its
// pools of upstream connections, its timer wheel and its buffers; nothing of it
// is touched by another goroutine. Others reach a loop by its bounded mailbox
// and one coalesced wake-up: a new or removed listening socket, a connection
// that another loop gives away, retired endpoints, shutdown.
//
// # Parts
//
// An Engine runs the loops and puts tables into force. A Loop is made of parts. Each part
// has a type and a file of its own, and knows its own business only: what it decides, methods
// of Loop carry out, and they are where parts meet.
//
//	the Engine's  owns                                          carried out in
//	addresses     where the node listens; sockets by address    engine.go, listen.go, share.go,
//	                                                            handover.go
//	crew          the threads that shake hands for loops, by    shaker.go, shaking.go,
//	              turns of clients                              shaketurns.go
//	ceilings      how many connections the node takes           accept.go, dial.go
//	clientele     the connections of a listener and of its      clientele_down.go,
//	              clients, and the clients' faults              faults_down.go
//
//	a Loop's      owns                                          carried out in
//	clock         the time of the turn                          everywhere
//	wheel         deadlines, one for a link                     loop.go: expire
//	strained      who reads behind everybody                    strained.go, pause.go
//	ring          many reads or writes by one call, where the   batch.go, early.go, stage.go
//	              system lets it
//	ringless      when one that was lost is replaced            batch.go
//	early         what was read of links before their turns     early.go: serveEdges
//	stage         small pieces to be written together           stage.go: send, flushStage
//	pipe          the bytes of a splice, while it runs          splice.go
//	scratch       what is valid for one step, or one read       everywhere
//	buffers       memory of bytes that wait                     link.go
//	streamPool    the exchanges, by number                      stream.go
//	recyclers     the memory of what has ended                  loop.go: endTurn
//	recorder      the sink, and when it is flushed              stream.go: finish
//	sockets       the loop's listening sockets                  accept.go
//	silence       whom the kernel keeps off one of these        faults_down.go
//	shaker        its handshakes, and who does them             handshake.go, and _down, _up
//	shedder       which idle clients make room                  shedder.go: shed
//	sweep         a look at all clients that is under way       sweep.go
//	postponed     attempts whose frames are being handled       mux_request.go
//	pools         its connections to endpoints, by slot         pool.go, upstream.go and _release,
//	                                                            places.go, room.go, widen.go
//	endings       its connections to endpoints that end in      upstream_release.go: abortUp
//	              later turns
//	warmer        which pools lack connections                  warm.go
//	counts        what it carries, for other loops to see       spread.go
//	mailbox       what others say to it                         mail.go
//
// What remains with the Loop itself are its links, and who of them has a turn.
//
// # Names
//
// Down is the client's side, up the endpoint's. In what Loop does the same things have the
// same letters everywhere:
//
//	l  a Loop                       e  the Engine
//	k  a link                       h  a handshake
//	d  a downstream                 c  an upstreamConn
//	m  its mux, with HTTP/2         m  its upMux, with HTTP/2
//	b  a sub: a stream there        b  a call: a stream there
//	f  the frames of a mux or an upMux; or a failure
//	s  a stream, which binds an exchange (s.x) to both sides; or a listening socket
//	p  an endpointPool, or bytes
//	u  an upstream, and to an endpoint, of the table t
//	ls a listener of the table; t is also what it says of TLS or of times
//	n  a number of bytes            q  a queue of them
//
// Methods of a part call it by its first letter or letters. In what Engine does b is a binding
// and c a change.
//
// # A turn
//
// run waits for events and serves, in this order: the links that have an edge (serveEdges,
// edges, turn), those that an earlier turn left over and sockets with clients waiting
// (takeTurns), clients that strain, if nobody else was served (takeStrained), handshakes of
// the crew (readReports) and of its own (shakeHands), deadlines (expire), kept connections for which a
// table changes something (sweepOn), want of memory or descriptors (shed), what other
// goroutines say (readMail). endTurn ends some of the connections that were given up (endSome),
// writes the frames that came together, makes those ready who had a turn and have more at hand
// (beginNext), and the memory of what ended ready to be used again.
// patience says how long the loop may sleep: a loop that spins has a reason there.
//
// # The way of a request
//
//	            HTTP/1.1                             HTTP/2
//	accept      accept, newDown; awaitProxy, readProxy; greet
//	TLS         turnHello, readHello, beginShake; crew.run on its thread, readReports,
//	            or shakeHands; shakeOn, turnShake, shakenDown
//	read        turnDown, readDown, consumeDown      turnMux, readMux, consumeMux
//	            the first bytes may be HTTP/2's: sniff, beginMux
//	begin       eventDown, beginExchange; actFirst   eventMux, beginSub; actFirst
//	connect     acquire, acquireFrom, connect,       the same; postponed, startPostponed
//	            connectDone, opened                  until the frames at hand are handled
//	            to an endpoint of HTTP/2: acquireCall, openedMux, offerCall, beginCall
//	send        act: ask; to HTTP/2: callActions
//	read        turnUp, readUp, consumeUp, eventUp; of HTTP/2: turnUpMux, readUpMux,
//	            eventUpMux, callData, callEnd
//	answer      act: answer                          act: answerSub
//	write       send; flushStage, write              gather; endTurn: flushFramed, flushFrames
//	give back   actAfter: releaseUp, passOn; or abortUp; of HTTP/2: dropCall
//	log, count  finish, count
//	go on       nextRequest, or closeDownAfter       finishedSub, endSub
//
// A tunnel leaves this way at join: turnTunnel, pass and passEnd move its bytes. A
// connection that is passed on whole (TCP, TLS_PASSTHROUGH) takes it from beginConnection
// on. What the client gets when there is no exchange yet is made by failHead,
// refuseSub, refuseConnection and refuse.
//
// # The end of a client's connection
//
//	            when                             what the client sees
//	closeDownAfter  its last answer is complete  the end behind all that is queued
//	closeLingering  all of that was sent         the end; what it still sends is read
//	                                             for a while, so that no reset overtakes it
//	refusedDown     the codec refuses it         an answer, if none has begun; the end
//	shedDown        idle, when room is needed    GOAWAY, if it speaks HTTP/2; the end
//	cutDown         the node stops waiting       what can still be answered; the end
//	abortDown       an answer broke off          a reset
//	goneDown        the client has gone          nothing
//	helloCutShort   no whole ClientHello came    the end, or a reset
//	closeDown       any of these has done its part: the descriptor is closed
//
// # Where to look
//
//	a transfer stands still     backpressure.go: who should have called makeReady?
//	one in HTTP/2 comes in bits pause.go, strained.go: the client has used up half of a flood's budget,
//	                            or was refused something; mux.go: a turn is one read where no bodies come
//	a deadline does not come    deadline, muxDeadline: what is it? wheel.go: is it armed?
//	a connection is not reused  releaseUp and passOn have all reasons
//	a request waits for one     places.go: which loop has the places, and who tells whom?
//	descriptors grow            newLink, closeLink and the pipe count in Loop.counts
//	memory grows                buffers.used; queue.release is where bytes are given back
//	a client is refused         accept; overloaded; ceilings.leave; clientele_down.go; faults_down.go
//
// # A descriptor
//
// A link is one descriptor with what both sides have in common: what the last
// edges said, bytes that were read and not yet understood, bytes that wait to be
// written, its place in the timer wheel, and its TLS if it has any. A downstream or an
// upstreamConn owns a link and a codec. A stream binds one exchange to its place on
// both of them; an HTTP/1.1 connection carries one at a time.
//
// # Edges
//
// Registration is edge-triggered and for life. A read that got less than it
// asked for ends the edge; whatever stops before that (a budget, back-pressure)
// leaves link.readable set and puts the link on the ready list, or a client of HTTP/2 on
// that of the next turn (makeNext), or is resumed by the side it waits for
// (backpressure.go). A client that is refused again and again makes no edges for a while
// (pause.go). Whoever queues bytes goes through send: they are written when all links at
// hand have had their turns (stage.go), or wait in link.out for the next writable edge:
// there is no third way.
//
// With a ring, links that have edges together are read together, and so are they written
// (early.go, stage.go; ADR 23). For a link it is as if the call had been made in its turn.
//
// # TLS
//
// A handshake computes for long, so it is a coroutine that runs on a thread of the crew, and
// holds one of the node's permits while it does. The descriptor stays with the loop: it reads
// until a whole ClientHello is there, gives the bytes to the thread (see
// package secure), and gets back what is to be sent whenever more bytes are
// needed. That thread goes behind the loops, and another is beside them for handshakes
// that have waited too long. Short ones run on the loop while it serves nobody who was
// there before (ADR 26). Afterwards the loop does all the rest itself. fill decrypts all that a
// read brought, so nothing waits where no edge would tell of it; bytes are
// encrypted when they leave the stage, and link.out holds what goes on the wire.
// An end that the peer did not announce (close_notify) may be somebody else's
// doing: an answer that lasts until the end is then a broken one.
//
// # HTTP/2
//
// A client's connection speaks HTTP/2 if TLS agreed on it (ALPN), or, without TLS,
// if its first bytes are the preface: prior knowledge (RFC 9113 section 3.3) is
// taken on every HTTP listener, since no HTTP/1.1 request begins so. Then it has
// a mux: the codec and a sub for each HTTP/2 stream. A sub is to its exchange what
// the whole connection is in HTTP/1.1, and outlives it while bytes wait for the
// client's windows. Exchanges, attempts and pools are the same; act is where the
// ways part.
//
// Frames are gathered in mux.out during a turn of the loop and written at its end,
// so that answers of many endpoints share a call. A body goes out as it comes
// while the windows and the socket take it; else it waits in its sub, whose
// endpoint is then not read. Subs that wait take turns of muxShare bytes. In the
// other direction a sub keeps what came before its endpoint takes it; reporting it
// as consumed opens the window, so a sub holds no more than that.
//
// An endpoint's connection that speaks HTTP/2 has an upMux, and a call for each
// attempt of an exchange on it; it serves as many as the endpoint allows before its
// pool opens another. A call keeps what its endpoint's windows do not take, and what
// its client does not: one slow client stops its own call.
//
// A stream of HTTP/2 may be one side of a tunnel, or both may: of CONNECT, or of
// another protocol by an extended CONNECT (RFC 8441), which package exchange
// translates from and to the Upgrade of HTTP/1.1. Its bytes come and go as those of
// a body do; relay.go reads only sides that are connections.
//
// A link has one timer. It is armed for the earliest deadline of all exchanges;
// when it comes up all are looked at, which a connection of a hundred streams can
// afford once a tick. Draining is two GOAWAYs with a PING between them, and so is the
// end of a connection that was used for as long as its listener allows.
//
// # Pools
//
// Connections to endpoints are opened for a stream, which waits for them, or for none:
// a pool with a least of idle ones is kept warm, see warm.go. These come and go like
// the others, and belong to the pool until a stream takes them.
//
// # Splice
//
// Long plaintext bodies of a known length, or until the close, and relays go from
// socket to socket by splice(2), where nothing has to be seen of them: no TLS, no
// HTTP/2, no chunks on either side, and nothing kept for another attempt. A splice
// stands for one read and one write, and leaves a link as these would; see splice.go.
//
// # Self-probe
//
// A node asks itself whether a client would be served, as selfprobe.go says; accept
// answers before anything else.
//
// # Memory
//
// Reads go to one buffer of the loop. Only what could not be understood or
// written at once is copied, into pooled buffers; a head is copied to its
// stream's arena. A connection stops being read while what it feeds has more
// than highWater bytes unsent, so one of HTTP/1.1 holds at most highWater and one read.
// One of HTTP/2 holds subAhead and one read for each stream, muxAhead for all, of requests
// what their windows let in (http2.Options), and what its frames may have unsent
// (frames.go). An idle connection holds no buffer at all.
package evloop
