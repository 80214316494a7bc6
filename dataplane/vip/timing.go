package vip

import "time"

const (
	// GrantFor is how long a member keeps to a grant after it gave or renewed it.
	GrantFor = 250 * time.Millisecond
	// KeepFor is how long a holder keeps the address after it sent the last
	// request that a majority acknowledged. The rest of GrantFor is for clocks
	// that differ (2 % of it) and for the time it takes to let go.
	KeepFor = 200 * time.Millisecond
	// Beat is between two requests of a holder: three may be lost in a row.
	Beat = 50 * time.Millisecond
)

// timing holds every length that the machine goes by, so that tests can show
// what each of them is good for.
type timing struct {
	grant, keep, beat int64

	// slot is what the next in the order of election waits longer than the one
	// before: enough for that one to ask and to get its answers.
	slot int64
	// ask is how long a candidate asks before it gives up: two requests, a local
	// network answers within a millisecond.
	ask int64
	// reach is how long a member may leave requests unanswered until Availability
	// takes it for unreachable: what it granted has run out by then.
	reach int64
	// ready is how long a candidate that only the present holder stands in the
	// way of goes on asking.
	ready int64
	// retry bounds how soon a candidate repeats a request that was denied, again
	// how soon it does when somebody lets go. fast is how long and fastBeat how
	// often it repeats it then: some members have heard of that, others not yet.
	retry, again, fast, fastBeat int64
	// firstPause and lastPause are the pauses of a candidate that no majority
	// answers; they double from one to the other.
	firstPause, lastPause int64
	// Others leave such a candidate out of the order for failed, one that said
	// it cannot hold for resigned, a holder that fell silent for silent. By then
	// gossip says it, or it is able again.
	failed, resigned, silent int64
	// clash is how long two that hold under Availability and hear of each other may both
	// take themselves for the one that stays: otherwise one lets go within a beat.
	clash int64
	// coalesce: what is due within it travels in the same datagram.
	coalesce int64
	// repeat are the times after letting go at which that is said again: the
	// datagram may be lost.
	repeat [2]int64
}

func defaultTiming() timing {
	const ms = int64(time.Millisecond)
	return timing{
		grant: int64(GrantFor), keep: int64(KeepFor), beat: int64(Beat),
		slot: 100 * ms, ask: 100 * ms, reach: int64(GrantFor), ready: 1000 * ms,
		retry: 5 * ms, again: ms, fast: 50 * ms, fastBeat: 10 * ms,
		firstPause: 300 * ms, lastPause: 1000 * ms,
		failed: 1000 * ms, resigned: 2000 * ms, silent: 3000 * ms,
		clash:    1000 * ms,
		coalesce: 10 * ms,
		repeat:   [2]int64{20 * ms, 60 * ms},
	}
}
