package http2

// flood is a kind of frames that cost their sender next to nothing.
type flood uint8

const (
	floodReset        flood = iota // streams that the peer reset before they ended
	floodError                     // streams that we reset for the peer's fault
	floodRefused                   // streams beyond Options.Streams
	floodSettings                  // SETTINGS, and acknowledgements that nobody waits for
	floodPing                      // PING, likewise
	floodEmptyData                 // DATA without a byte that does not end its stream
	floodWindowUpdate              // WINDOW_UPDATE
	floodPriority                  // PRIORITY and PRIORITY_UPDATE
	floodUnknown                   // frames of types that we do not know
	floodStray                     // frames of streams that are closed
	floodAnswer                    // heads that are refused by an answer
	floodHeads                     // bytes of heads, and of trailers, that nobody takes

	floodEnd
)

// budget is how many frames of a kind, or bytes of them, a connection takes: burst at
// once, and more by time, by requests that were answered in full, and by bytes of bodies
// that went either way, since those are work that somebody wanted.
type budget struct {
	reason     Reason
	burst      int32
	perSecond  int32
	perRequest int32
	perKiB     int32
}

// budgets are chosen so that no client that was seen comes near, and so that
// what is taken costs less than the requests which the same bytes could have
// asked for.
var budgets = [floodEnd]budget{
	// A page that is left cancels all that it was loading, twice over; after
	// that, cancelling costs as much as it lets finish. 20 a second is for
	// clients whose every call runs into a deadline.
	floodReset: {ResetFlood, 2 * DefaultStreams, 20, 1, 0},
	// No client makes these but by mistake.
	floodError: {ErrorFlood, DefaultStreams, 10, 1, 0},
	// Before it has read our SETTINGS a client may open any number.
	floodRefused: {RefusedFlood, 2 * DefaultStreams, 10, 1, 0},
	// Peers send SETTINGS once, or when the user resizes something.
	floodSettings: {SettingsFlood, 32, 1, 0, 0},
	// gRPC sends a PING in every round trip in which data flows, to measure the
	// path; keep-alives are far below one a second.
	floodPing: {PingFlood, 128, 10, 1, 1},
	// Some encoders end a body by an empty frame with the flag, which is not
	// counted, and flush with one without.
	floodEmptyData: {EmptyDataFlood, 100, 10, 2, 0},
	// A careless reader gives back what it read after every frame, to the stream
	// and to the connection.
	floodWindowUpdate: {WindowUpdateFlood, 2000, 200, 4, 4},
	// Firefox before 2022 built a tree of six streams, and moved requests in it.
	floodPriority: {PriorityFlood, 2 * DefaultStreams, 10, 4, 0},
	// Browsers send frames of reserved types, to keep servers honest.
	floodUnknown: {UnknownFrameFlood, 100, 10, 4, 0},
	// What was on its way when we reset a stream: its window in small frames. See
	// strayFrames for what a Client takes beyond that.
	floodStray: {StrayFrameFlood, 1000, 100, 4, 0},
	// Beyond these no connection ends: heads are refused by a reset, and count as
	// errors. A user reads why one page or the other is not shown, and an answer costs
	// ten times what a reset does. Each request that is answered in full earns one more.
	floodAnswer: {HeadTooLarge, 8, 1, 1, 0},
	// A browser whose cookies are too large sends them again with each object of a page: 25 times
	// 20 KiB. By TLS a node has to do half as much for these as for the handshake of another
	// connection, so this bounds what one costs besides, whatever heads it has.
	floodHeads: {HeadFlood, 512 << 10, 64 << 10, 8 << 10, 0},
}

const (
	// ofClients are the kinds that a proxy passes on from its clients, or that it makes for
	// them: its connection carries requests of many, and whoever gives them up, or sends
	// what is refused, must not end it for the others.
	ofClients = 1<<floodReset | 1<<floodError | 1<<floodStray | 1<<floodAnswer | 1<<floodHeads
	// sharedTimes is how many times the budgets of these kinds are where a connection is
	// shared: as many as there are streams, of which each may be another client's.
	sharedTimes = DefaultStreams
)

// maxContinuations bounds the CONTINUATION frames of one field block: a block
// that could be taken needs four (CVE-2024-27316 and its like sent them without
// end).
const maxContinuations = 16

// strayFrames is how many frames of a stream may come when a Client has reset it: its
// window in frames of 64 bytes. A connection to an endpoint carries requests of many
// clients, and whoever gives up answers must not end it for the others.
const strayFrames = DefaultStreamWindow / 64

// wholeFrame is what the last frame of a piece of a body that we send counts as, at least:
// gRPC's readers in Go answer each frame by a PING and a WINDOW_UPDATE, and send on for each
// round trip, however small their messages are. A frame that a window cut counts for what
// it holds: otherwise whoever opens windows byte by byte would earn by that.
const wholeFrame = 1 << 10

// second is that in which time is told.
const second = int64(1e9)

// floods counts what came of each kind, less what was earned.
type floods struct {
	spent    [floodEnd]int32
	strained bool  // half of a budget may be used up
	refilled int64 // when, in nanoseconds
	requests int32 // answered since
	bytes    int64 // of bodies since
	resets   int32 // Client: of ours since
	shared   bool  // Options.Shared
}

// times is what the budget of a kind is multiplied by.
func (f *floods) times(kind flood) int32 {
	if f.shared && ofClients>>kind&1 != 0 {
		return sharedTimes
	}
	return 1
}

// spend counts a frame. False: it is one too many.
func (f *floods) spend(kind flood, now int64) bool { return f.spendMany(kind, 1, now) }

// spendMany is spend for so many at once, of which none counts if one is too many.
func (f *floods) spendMany(kind flood, n int32, now int64) bool {
	burst := budgets[kind].burst * f.times(kind)
	if f.spent[kind] > burst-n {
		if f.refill(now); f.spent[kind] > burst-n {
			return false
		}
	}
	f.spent[kind] += n
	if f.spent[kind] > burst/2 {
		f.strained = true
	}
	return true
}

// earned is what time and work have earned of a budget since the last refill.
func (f *floods) earned(kind flood, now int64) int64 {
	b := &budgets[kind]
	seconds := max(now-f.refilled, 0) / second
	n := seconds*int64(b.perSecond*f.times(kind)) + int64(f.requests)*int64(b.perRequest) + f.bytes>>10*int64(b.perKiB)
	if kind == floodStray {
		n += int64(f.resets) * strayFrames
	}
	return n
}

// halfSpent tells whether more than half of a budget is used up, when all that was
// earned is paid back.
func (f *floods) halfSpent(now int64) bool {
	if !f.strained {
		return false
	}
	for kind := range floodEnd {
		if half := int64(budgets[kind].burst * f.times(kind) / 2); int64(f.spent[kind])-half > f.earned(kind, now) {
			return true
		}
	}
	return false
}

// refill pays back what time and work have earned since the last time. It is
// asked for only when a budget is used up, so counting costs nothing else.
func (f *floods) refill(now int64) {
	f.strained = false
	for kind := range floodEnd {
		f.spent[kind] -= int32(min(f.earned(kind, now), int64(f.spent[kind])))
		f.strained = f.strained || f.spent[kind] > budgets[kind].burst*f.times(kind)/2
	}
	f.refilled += max(now-f.refilled, 0) / second * second
	f.requests, f.resets = 0, 0
	f.bytes &= 1<<10 - 1
}
