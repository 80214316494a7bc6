package exchange

import "github.com/proxyfleet/proxyfleet/dataplane/message"

// This file has what an exchange and its driver say to each other, as closed sets.
// state.go says what follows from what.

// State is where an exchange is in its life.
type State uint8

// The states.
const (
	StateIdle    State = iota // before Begin
	StateAcquire              // waits for a connection to the endpoint
	StateBackoff              // waits before the next attempt
	StateSend                 // the request goes up; no answer yet
	StateStream               // the answer goes down
	StateTunnel               // bytes pass in both directions, as they are
	StateDone                 // finished
)

// EventKind is a member of the closed set of events.
type EventKind uint8

// The events.
const (
	EventAcquired       EventKind = iota // Reused says whether the connection was kept, Served whether it has served a request, and had none on its way
	EventAcquireFailed                   // Failure
	EventRequestData                     // N bytes of body, or of a tunnel, came from the client
	EventRequestEnd                      // the request's body is complete, with N bytes of trailers; of a tunnel: the client sends no more, and all of it has gone up; Failure has a Detail of that
	EventRequestFailed                   // Failure: the request's body is malformed
	EventInterim                         // Head: a 1xx answer
	EventResponseHead                    // Head
	EventResponseData                    // N bytes of body, or of a tunnel, came from the endpoint
	EventResponseEnd                     // Reusable says whether the connection may serve again; of a tunnel: as for the client
	EventUpstreamFailed                  // Failure: before the answer was complete
	EventClientGone                      // the client's connection is over
	EventDeadline                        // NextDeadline has passed; Queued and Stuck say what is in the way
	EventCut                             // Failure: the node ends the exchange now
)

// Event is what happened.
type Event struct {
	Kind     EventKind
	Reused   bool
	Served   bool
	Reusable bool
	Queued   bool // a connection was asked for in vain
	Stuck    bool // what came of the request waits for the endpoint
	N        int
	Head     *message.Head
	Failure  Failure
}

// Actions is a set; the driver carries its members out in the order of their
// bits.
type Actions uint32

// The actions.
const (
	ActLeaveQueue      Actions = 1 << iota // stop waiting for a connection
	ActSendHead                            // encode RequestHead
	ActResend                              // what was kept of the body goes up again, behind the head
	ActForwardRequest                      // this event's data goes up; it is kept while Keeps says so
	ActEndRequest                          // the body that went up is complete
	ActContinue                            // encode ContinueHead
	ActForwardInterim                      // this event's head goes down as it is
	ActForwardHead                         // encode ResponseHead with this event's head
	ActForwardResponse                     // this event's data goes down
	ActEndResponse                         // the body that went down is complete
	ActReply                               // encode Reply
	ActJoin                                // from here on what comes from either side is a tunnel's
	ActShutUpstream                        // tell the endpoint that no more follows
	ActShutClient                          // tell the client that no more follows
	ActReleaseUpstream                     // the connection may serve another request; nothing of it is used after
	ActAbortUpstream                       // close the connection, likewise
	ActReadRequest                         // the body may be read
	ActWait                                // let time pass until NextDeadline
	ActAcquire                             // get a connection to Upstream(); Fresh() tells the kind
	ActFinish                              // the exchange is over; Record is complete
	ActAbortClient                         // close the client's connection at once, mid-answer
	ActCloseClient                         // close it when everything queued has gone
)
